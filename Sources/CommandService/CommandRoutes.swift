import CommandProcessing
import Commerce
import CommerceAPI
import EventSourcing
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import ServiceKit

/// HTTP in front of the command processor.
struct CommandRoutes<Store: EventStore> {
  let processor: CommandProcessor<Store>
  let currency: String

  func add(to router: Router<some RequestContext>) {
    router.post("/v1/products") { request, _ in try await registerProduct(request) }
    router.put("/v1/products/{sku}/price") { request, context in
      try await changePrice(context.pathParameter("sku"), request)
    }
    router.delete("/v1/products/{sku}") { request, context in
      try await discontinueProduct(context.pathParameter("sku"), request)
    }
    router.post("/v1/orders") { request, _ in try await placeOrder(request) }
    router.post("/v1/orders/{id}/cancellation") { request, context in
      try await cancelOrder(context.pathParameter("id"), request)
    }
  }

  private func registerProduct(_ request: Request) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let body = try RegisterProductRequest(json)
    let command = RegisterProduct(
      ProductRegistered(
        sku: body.sku, name: body.name, description: body.description, unitPrice: body.unitPrice, currency: currency))
    return try await create(command, "/v1/products", body.sku.rawValue, request, bytes)
  }

  private func changePrice(_ text: String, _ request: Request) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let body = try ChangePriceRequest(json)
    guard let sku = SKU(text) else { throw Problem.notFound("There is no product \(text).") }
    return try await change(ChangePrice(sku, unitPrice: body.unitPrice), sku.rawValue, request, bytes)
  }

  private func discontinueProduct(_ text: String, _ request: Request) async throws -> Response {
    try admit()
    guard let sku = SKU(text) else { throw Problem.notFound("There is no product \(text).") }
    return try await change(DiscontinueProduct(sku), sku.rawValue, request, [])
  }

  private func placeOrder(_ request: Request) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let body = try PlaceOrderRequest(json)
    let orderID = body.orderID ?? UUID.v7().uuidString.lowercased()
    let command = PlaceOrder(
      orderID: orderID, customerID: body.customerID, lines: body.lines, placedAt: body.placedAt ?? .now,
      currency: currency)
    return try await create(command, "/v1/orders", orderID, request, bytes)
  }

  private func cancelOrder(_ orderID: String, _ request: Request) async throws -> Response {
    let (json, bytes) = try await body(of: request)
    let body = try CancelOrderRequest(json)
    guard Identifier.problem(orderID) == nil else { throw CommerceRejection.orderNotFound(orderID) }
    return try await change(CancelOrder(orderID: orderID, reason: body.reason), orderID, request, bytes)
  }

  /// Sheds what would be refused anyway, before any work.
  private func admit() throws {
    guard !processor.isOverloaded else { throw processor.shed() }
  }

  private func body(of request: Request) async throws -> (JSON, [UInt8]) {
    try admit()
    let bytes = try await request.jsonBytes()
    return (try JSON(requestBody: bytes), bytes)
  }

  private func create(
    _ command: some Command, _ path: String, _ id: String, _ request: Request, _ body: [UInt8]
  ) async throws -> Response {
    let commandRequest = try CommandRequest(request, body: body, hasSubject: false)
    return try await respond(commandRequest, command) { decided in
      CommandResponse(
        status: 201, location: "\(path)/\(id.percentEncodedSegment)", id: id, version: decided.version.rawValue,
        position: decided.position)
    }
  }

  private func change(
    _ command: some Command, _ id: String, _ request: Request, _ body: [UInt8]
  ) async throws -> Response {
    let commandRequest = try CommandRequest(request, body: body, hasSubject: true)
    return try await respond(commandRequest, command) { decided in
      CommandResponse(
        status: 200, id: id, version: decided.version.rawValue, position: decided.position,
        hasChanged: decided.hasChanged)
    }
  }

  /// Carries the command out, and sends what the store has kept as its answer. The key is in every answer,
  /// also in that to a failure: who sends it again, sends it with the key.
  private func respond(
    _ request: CommandRequest, _ command: some Command, _ answer: @escaping @Sendable (Decided) -> CommandResponse
  ) async throws -> Response {
    let key = request.key.key
    let outcome: CommandOutcome
    do { outcome = try await processor.execute(command, request) { answer($0).encoded } } catch {
      guard var problem = commandProblem(error) else { throw error }
      problem.headers[.idempotencyKey] = key
      throw problem
    }
    guard let stored = CommandResponse(outcome.answer) else {
      throw StoredAnswerError(description: "what is stored for the key \(key) is no response")
    }
    var headers: HTTPFields = [.eTag: stored.entityTag, .idempotencyKey: key]
    if let location = stored.location { headers[.location] = location }
    return .json(stored.body, status: .init(code: stored.status), headers: headers)
  }
}

private struct StoredAnswerError: Error, CustomStringConvertible {
  let description: String
}

extension String {
  /// As one segment of a path: all but the unreserved characters of RFC 3986, section 2.3, percent-encoded.
  fileprivate var percentEncodedSegment: String {
    let isUnreserved: (UInt8) -> Bool = { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        true
      default: false
      }
    }
    guard !utf8.allSatisfy(isUnreserved) else { return self }
    return utf8.map { byte in
      isUnreserved(byte)
        ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }.joined()
  }
}
