internal import Commerce
internal import CommerceAPI
internal import CommerceReadModels
internal import CommerceStore
internal import ConsoleKit
internal import HTTPKit
internal import Hummingbird
internal import JSON
internal import QueryKit
public import ServiceKit

extension Role {
  /// Answers the queries of the commerce back end, and shows the console.
  public static let commerceQueries = Role.queryService(
    commerceReadModels(), events: commerceEvents, sealed: [personalData], settings: Console.settings
  ) { queries, settings, logger, parts in
    parts.elsewhere = CommerceRoutes.commands
    parts.addRoutes { router in
      router.addDocument("/openapi.yaml", "application/yaml", CommerceRoutes.openAPI)
      QueryRoutes(queries: queries).add(to: router.group().add(middleware: queries.admission))
    }
    try console.add(to: &parts, queries, settings, logger: logger)
  }

  private static let personalData = SealedEvents(Customer.category, member: "sealed", scope: .personalDataRead) {
    bytes in
    let personal = try PersonalData(parsing: bytes)
    let members = [("name", personal.name), ("email", personal.email)]
    return members.compactMap { name, value in value.map { JSON.Member(name, .string($0)) } }
  }

  private static let console = Console(
    .init(
      "Newest orders", .init(list: "/v1/orders", row: "/v1/orders/{id}", history: "/v1/orders/{id}/history"),
      id: "orderId",
      columns: [
        "\("orderId")", "\(money: "total", in: "currency")",
        "\("status") · \(each: "lines", "\("quantity") × \("name", or: "sku")")", "\(time: "placedAt")",
      ]
    ).headed("\("orderId"): \("status"), \(money: "total", in: "currency")")
      .empty("No order has been placed yet.")
      .finding("Find an order", "An order's id, a customer's or a product's name", isByText: true))
}
