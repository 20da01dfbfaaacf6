import Commerce
import CommerceReadModels
import HTTPTypes
import Hummingbird
import JSON
import ServiceKit

/// HTTP in front of the read tables.
struct QueryRoutes {
  static let pageSizes = 1...100

  let orders: OrderQueries
  let catalogue: CatalogueQueries

  func add(to router: Router<some RequestContext>) {
    router.get("/v1/orders/{id}") { _, context in
      let id = try context.pathParameter("id")
      guard Identifier.problem(id) == nil, let order = try await orders.order(id) else {
        throw Problem.notFound("There is no order \(id), or it has not come here yet.")
      }
      return Response.json(order)
    }
    router.get("/v1/customers/{id}/orders") { request, context in
      try await page(ofCustomer: context.pathParameter("id"), request)
    }
    router.get("/v1/products/{sku}") { _, context in
      let text = try context.pathParameter("sku")
      guard let sku = SKU(text), let product = try await catalogue.product(sku.rawValue) else {
        throw Problem.notFound("There is no product \(text), or it has not come here yet.")
      }
      return Response.json(product)
    }
  }

  private func page(ofCustomer id: String, _ request: Request) async throws -> Response {
    let limit = try limit(of: request)
    let cursor = try request.uri.queryParameters["cursor"].map { text in
      guard let cursor = OrderQueries.Cursor(opaque: String(text)) else {
        throw Self.wrongParameter("cursor", "must be the nextCursor of an earlier answer")
      }
      return cursor
    }
    guard Identifier.problem(id) == nil else { throw Problem.notFound("\(id) is not a customer's id.") }
    let page = try await orders.orders(ofCustomer: id, after: cursor, limit: limit)
    var json = JSONWriter(reserving: 1024)
    json.object { json in
      json.member("items") { $0.array(page.items) { $0.write(raw: $1) } }
      json.member("nextCursor") { if let next = page.next { $0.write(next.opaque) } else { $0.writeNull() } }
    }
    return .json(json.bytes)
  }

  private func limit(of request: Request) throws -> Int {
    guard let text = request.uri.queryParameters["limit"] else { return 20 }
    guard let limit = Int(text), Self.pageSizes.contains(limit) else {
      throw Self.wrongParameter(
        "limit", "must be a whole number from \(Self.pageSizes.lowerBound) to \(Self.pageSizes.upperBound)")
    }
    return limit
  }

  private static func wrongParameter(_ name: String, _ detail: String) -> Problem {
    Problem(
      .badRequest, "invalid-parameter", title: "A query parameter is not valid", detail: "\(name) \(detail).",
      extensions: [.init("parameter", .string(name))])
  }
}
