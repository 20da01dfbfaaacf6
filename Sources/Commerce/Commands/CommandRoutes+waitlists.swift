internal import CommandKit
internal import Commerce
internal import CommerceAPI
internal import HTTPKit
internal import Hummingbird

extension CommandRoutes {
  func addWaitlists(to router: some RouterMethods<ServiceContext>) {
    router.post("/v1/products/{sku}/notifications") { request, context in
      let (json, bytes) = try await commands.body(of: request)
      let body = try BackInStockRequest(json)
      let sku = try sku(context)
      return try await commands.change(
        RequestBackInStock(sku, customerID: body.customerID), sku.rawValue, request, bytes, by: context.caller)
    }
  }
}
