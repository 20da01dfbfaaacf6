import CommandProcessing
import Commerce
import CommerceAPI
import EventSourcing
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import PostgresEventStore
import ServiceKit

/// HTTP in front of the command processor.
struct CommandRoutes<Store: EventStore> {
  let processor: CommandProcessor<Store>
  let store: Store
  let keys: PersonalKeys
  let currencyCheck: CurrencyCheck
  let tokenKey: ConsistencyToken.Key

  var currency: String { currencyCheck.currency }

  func add(to router: some RouterMethods<ServiceContext>) {
    addProducts(to: router)
    addCustomers(to: router)
    router.post("/v1/orders") { request, context in try await placeOrder(request, by: context.caller) }
    router.post("/v1/orders/{id}/payment") { request, context in
      let (id, body, bytes) = try await order(request, context, PayOrderRequest.init)
      return try await change(
        PayOrder(orderID: id, amount: body.amount, reference: body.reference), id, request, bytes, by: context.caller)
    }
    router.post("/v1/orders/{id}/shipment") { request, context in
      let (id, body, bytes) = try await order(request, context, ShipOrderRequest.init)
      return try await withLines(of: id) { skus in
        let command = ShipOrder(orderID: id, carrier: body.carrier, trackingCode: body.trackingCode, skus: skus)
        return try await change(command, id, request, bytes, by: context.caller)
      }
    }
    router.post("/v1/orders/{id}/delivery") { request, context in
      let (id, _, bytes) = try await order(request, context, EmptyRequest.init)
      return try await change(DeliverOrder(orderID: id), id, request, bytes, by: context.caller)
    }
    router.post("/v1/orders/{id}/cancellation") { request, context in
      let (id, body, bytes) = try await order(request, context, ReasonRequest.init)
      return try await withLines(of: id) { skus in
        try await change(
          CancelOrder(orderID: id, reason: body.reason, skus: skus), id, request, bytes, by: context.caller)
      }
    }
    router.post("/v1/returns") { request, context in try await recordReturn(request, by: context.caller) }
  }

  private func addProducts(to router: some RouterMethods<ServiceContext>) {
    router.post("/v1/products") { request, context in
      let (json, bytes) = try await body(of: request)
      let body = try RegisterProductRequest(json)
      let product = ProductRegistered(
        sku: body.sku, name: body.name, description: body.description, unitPrice: body.unitPrice, currency: currency,
        tracksStock: body.tracksStock)
      return try await create(
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
      let (json, bytes) = try await body(of: request, isOptional: true)
      _ = try EmptyRequest(json)
      let sku = try sku(context)
      return try await change(DiscontinueProduct(sku), sku.rawValue, request, bytes, by: context.caller)
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
    let (json, bytes) = try await body(of: request)
    let body = try read(json)
    let sku = try sku(context)
    return try await change(command(sku, body), sku.rawValue, request, bytes, by: context.caller)
  }

  private func sku(_ context: ServiceContext) throws -> SKU {
    let text = try context.pathParameter("sku")
    guard let sku = SKU(text) else { throw Problem.notFound("The product \(text) is not there.") }
    return sku
  }

  private func order<Body: Sendable>(
    _ request: Request, _ context: ServiceContext, _ read: (JSON) throws -> Body
  ) async throws -> (id: String, body: Body, bytes: [UInt8]) {
    let (json, bytes) = try await body(of: request)
    let body = try read(json)
    let id = try context.pathParameter("id")
    guard Identifier.problem(id) == nil else { throw CommerceRejection.orderNotFound(id) }
    return (id, body, bytes)
  }

  /// Runs a command that must name the products of an order's lines, which never change.
  private func withLines(of orderID: String, _ body: (Set<SKU>) async throws -> Response) async throws -> Response {
    try await again {
      var order = Order()
      for event in try await read(Order.stream(orderID), after: .none, limit: 1) {
        do throws(EventDecodingError) { order.apply(try OrderEvent(event)) } catch {
          throw CommandError.unreadable(error)
        }
      }
      return try await body(order.skus)
    }
  }

  /// Runs what reads beforehand what its command needs, again where that has changed when the command is decided.
  func again(_ body: () async throws -> Response) async throws -> Response {
    var attempts = 0
    while true {
      do { return try await body() } catch let problem as Problem where problem.name == changedMeanwhile {
        attempts += 1
        guard attempts < 5 else { throw problem }
      }
    }
  }

  func read(_ stream: StreamID, after version: Version, limit: Int) async throws -> [RecordedEvent] {
    do throws(EventStoreError) {
      return try await store.events(in: stream, after: version, limit: limit)
    } catch { throw CommandError(reading: error) }
  }

  private func placeOrder(_ request: Request, by caller: Caller) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let now = Timestamp.now
    let body = try PlaceOrderRequest(json, now: now)
    if body.placedAt != nil || body.lines.contains(where: { $0.unitPrice != nil }) {
      try caller.require(.ordersOverride)
    }
    let orderID = body.orderID ?? UUID.v7().uuidString.lowercased()
    let command = PlaceOrder(
      orderID: orderID, customerID: body.customerID, country: body.country, lines: body.lines,
      placedAt: body.placedAt ?? now, currency: currency)
    return try await create(command, "/v1/orders", orderID, request, bytes, by: caller)
  }

  private func recordReturn(_ request: Request, by caller: Caller) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let now = Timestamp.now
    let body = try RecordReturnRequest(json, now: now)
    // Without an order the request itself says how much is credited.
    if body.returnedAt != nil || body.orderID == nil { try caller.require(.ordersOverride) }
    let returnID = body.returnID ?? UUID.v7().uuidString.lowercased()
    let command = RecordReturn(
      returnID: returnID, orderID: body.orderID, customerID: body.customerID, country: body.country,
      reason: body.reason, lines: body.lines, returnedAt: body.returnedAt ?? now, currency: currency)
    return try await create(command, "/v1/returns", returnID, request, bytes, by: caller)
  }

  /// Sheds what would be refused anyway, before any work.
  func admit() throws {
    try currencyCheck.requireConfirmed()
    guard !processor.isOverloaded else { throw processor.shed() }
  }

  /// - Parameter isOptional: no body means an empty object.
  func body(of request: Request, isOptional: Bool = false) async throws -> (JSON, [UInt8]) {
    try admit()
    let bytes = try await request.jsonBytes(isOptional: isOptional)
    return (isOptional && bytes.isEmpty ? [:] : try JSON(requestBody: bytes), bytes)
  }

  func create(
    _ command: some Command, _ path: String, _ id: String, _ request: Request, _ body: [UInt8],
    by caller: Caller
  ) async throws -> Response {
    try await create(command, path, id, CommandRequest(request, body: body, by: caller, hasSubject: false))
  }

  func create(
    _ command: some Command, _ path: String, _ id: String, _ request: CommandRequest
  ) async throws -> Response {
    try await respond(request, command) { decided in
      CommandResponse(
        status: 201, location: "\(path)/\(id.percentEncodedSegment)", id: id, version: decided.version.rawValue,
        position: decided.position, streams: decided.streams)
    }
  }

  func change(
    _ command: some Command, _ id: String, _ request: Request, _ body: [UInt8],
    by caller: Caller, extra: (@Sendable (inout JSONWriter) -> Void)? = nil
  ) async throws -> Response {
    let commandRequest = try CommandRequest(request, body: body, by: caller, hasSubject: true)
    return try await respond(commandRequest, command) { decided in
      CommandResponse(
        status: 200, id: id, version: decided.version.rawValue, position: decided.position,
        streams: decided.streams, hasChanged: decided.hasChanged, extra: extra)
    }
  }

  /// Carries the command out, and sends what the store has kept as its answer. The key is in every answer,
  /// also in that to a failure: who sends it again, sends it with the key.
  func respond(
    _ request: CommandRequest, _ command: some Command, _ answer: @escaping @Sendable (Decided) -> CommandResponse
  ) async throws -> Response {
    let key = request.key.key
    let outcome: CommandOutcome
    do {
      outcome = try await Spans.within("command \(type(of: command))") {
        try await processor.execute(command, request) { answer($0).encoded }
      }
    } catch {
      guard var problem = commandProblem(error) else { throw error }
      problem.headers[.idempotencyKey] = key
      throw problem
    }
    guard let stored = CommandResponse(outcome.answer) else {
      throw StoredAnswerError(description: "what is stored for the key \(key) is no response")
    }
    var headers: HTTPFields = [.eTag: stored.entityTag, .idempotencyKey: key]
    if let location = stored.location { headers[.location] = location }
    if let incarnation = outcome.incarnation, let streams = stored.streams,
      let touched = TouchedStreams.parse(String(decoding: streams, as: UTF8.self))
    {
      let entries = touched.map { ConsistencyToken.Entry(stream: $0.hash, position: $0.position) }
      headers[.consistencyToken] = ConsistencyToken(incarnation: incarnation, entries: entries).signed(with: tokenKey)
    }
    return .json(stored.body, status: .init(code: stored.status), headers: headers)
  }
}

private struct StoredAnswerError: Error, CustomStringConvertible {
  let description: String
}
