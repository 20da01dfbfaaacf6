internal import CommandKit
internal import Commerce
internal import CommerceAPI
internal import CommerceStore
internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import PostgresEventStore

/// The HTTP routes of all commands.
struct CommandRoutes<Store: StreamStore> {
  let commands: Commands<Store>
  let keys: PersonalKeys
  /// ISO 4217.
  let currency: String

  func add(to router: some RouterMethods<ServiceContext>) {
    addProducts(to: router)
    addWaitlists(to: router)
    addCustomers(to: router)
    router.post("/v1/orders") { request, context in try await placeOrder(request, by: context.caller) }
    router.post("/v1/orders/{id}/payment") { request, context in
      let (id, body, bytes) = try await order(request, context, PayOrderRequest.init)
      return try await commands.change(
        PayOrder(orderID: id, amount: body.amount, reference: body.reference), id, request, bytes, by: context.caller)
    }
    router.post("/v1/orders/{id}/shipment") { request, context in
      let (id, body, bytes) = try await order(request, context, ShipOrderRequest.init)
      return try await withLines(of: id) { skus in
        let command = ShipOrder(orderID: id, carrier: body.carrier, trackingCode: body.trackingCode, skus: skus)
        return try await commands.change(command, id, request, bytes, by: context.caller)
      }
    }
    router.post("/v1/orders/{id}/delivery") { request, context in
      let (id, _, bytes) = try await order(request, context, EmptyRequest.init)
      return try await commands.change(DeliverOrder(orderID: id), id, request, bytes, by: context.caller)
    }
    router.post("/v1/orders/{id}/cancellation") { request, context in
      let (id, body, bytes) = try await order(request, context, ReasonRequest.init)
      return try await withLines(of: id) { skus in
        try await commands.change(
          CancelOrder(orderID: id, reason: body.reason, skus: skus), id, request, bytes, by: context.caller)
      }
    }
    router.post("/v1/returns") { request, context in try await recordReturn(request, by: context.caller) }
  }

  private func addProducts(to router: some RouterMethods<ServiceContext>) {
    router.post("/v1/products") { request, context in
      let (json, bytes) = try await commands.body(of: request)
      let body = try RegisterProductRequest(json)
      let product = ProductRegistered(
        sku: body.sku, name: body.name, description: body.description, unitPrice: body.unitPrice, currency: currency,
        tracksStock: body.tracksStock)
      return try await commands.create(
        RegisterProduct(product), "/v1/products", body.sku.rawValue, request, bytes, by: context.caller)
    }
    router.patch("/v1/products/{sku}") { request, context in
      try await product(request, context, ChangeProductDetailsRequest.init) { sku, body in
        ChangeProductDetails(sku, name: body.name, description: body.description)
      }
    }
    router.put("/v1/products/{sku}/price") { request, context in
      try await product(request, context, ChangePriceRequest.init) { ChangePrice($0, unitPrice: $1.unitPrice) }
    }
    router.delete("/v1/products/{sku}") { request, context in
      let (json, bytes) = try await commands.body(of: request, isOptional: true)
      _ = try EmptyRequest(json)
      let sku = try sku(context)
      return try await commands.change(DiscontinueProduct(sku), sku.rawValue, request, bytes, by: context.caller)
    }
    router.post("/v1/products/{sku}/reinstatement") { request, context in
      try await product(request, context, EmptyRequest.init) { sku, _ in ReinstateProduct(sku) }
    }
    router.post("/v1/products/{sku}/stock/receipts") { request, context in
      try await product(request, context, ReceiveStockRequest.init) { ReceiveStock($0, quantity: $1.quantity) }
    }
    router.post("/v1/products/{sku}/stock/adjustments") { request, context in
      try await product(request, context, AdjustStockRequest.init) {
        AdjustStock($0, quantity: $1.quantity, reason: $1.reason)
      }
    }
  }

  private func product<Body: Sendable>(
    _ request: Request, _ context: ServiceContext, _ read: (JSON) throws -> Body,
    _ command: (SKU, Body) -> some ProductCommand
  ) async throws -> Response {
    let (json, bytes) = try await commands.body(of: request)
    let body = try read(json)
    let sku = try sku(context)
    return try await commands.change(command(sku, body), sku.rawValue, request, bytes, by: context.caller)
  }

  func sku(_ context: ServiceContext) throws -> SKU {
    let text = try context.pathParameter("sku")
    guard let sku = SKU(text) else { throw Problem.notFound("The product \(text) is not there.") }
    return sku
  }

  private func order<Body: Sendable>(
    _ request: Request, _ context: ServiceContext, _ read: (JSON) throws -> Body
  ) async throws -> (id: String, body: Body, bytes: [UInt8]) {
    let (json, bytes) = try await commands.body(of: request)
    let body = try read(json)
    let id = try context.pathParameter("id")
    guard Identifier.problem(id) == nil else { throw Rejection.orderNotFound(id) }
    return (id, body, bytes)
  }

  /// Runs a command that must name the products of an order's lines. They never change.
  private func withLines(of orderID: String, _ body: (Set<SKU>) async throws -> Response) async throws -> Response {
    try await commands.again {
      let order: Order = try await commands.state(of: orderID)
      return try await body(order.skus)
    }
  }

  private func placeOrder(_ request: Request, by caller: Caller) async throws -> Response {
    let (json, bytes) = try await commands.body(of: request)
    let now = Timestamp.now
    let body = try PlaceOrderRequest(json, now: now)
    if body.placedAt != nil || body.lines.contains(where: { $0.unitPrice != nil }) {
      try caller.require(.ordersOverride)
    }
    let orderID = body.orderID ?? UUID.v7().uuidString.lowercased()
    let command = PlaceOrder(
      orderID: orderID, customerID: body.customerID, country: body.country, lines: body.lines,
      placedAt: body.placedAt ?? now, currency: currency)
    return try await commands.create(command, "/v1/orders", orderID, request, bytes, by: caller)
  }

  private func recordReturn(_ request: Request, by caller: Caller) async throws -> Response {
    let (json, bytes) = try await commands.body(of: request)
    let now = Timestamp.now
    let body = try RecordReturnRequest(json, now: now)
    // Without an order, the request itself sets the amount of the credit.
    if body.returnedAt != nil || body.orderID == nil { try caller.require(.ordersOverride) }
    let returnID = body.returnID ?? UUID.v7().uuidString.lowercased()
    let command = RecordReturn(
      returnID: returnID, orderID: body.orderID, customerID: body.customerID, country: body.country,
      reason: body.reason, lines: body.lines, returnedAt: body.returnedAt ?? now, currency: currency)
    return try await commands.create(command, "/v1/returns", returnID, request, bytes, by: caller)
  }
}
