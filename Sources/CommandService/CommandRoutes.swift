import CommandProcessing
import Commerce
import CommerceAPI
import EventSourcing
import Foundation
import HTTPTypes
import Hummingbird
import ServiceKit

/// HTTP in front of the command processor.
struct CommandRoutes<Store: EventStore> {
  let processor: CommandProcessor<Store>
  let currency: String

  func add(to router: Router<some RequestContext>) {
    router.post("/v1/products") { request, _ in try await registerProduct(request) }
    router.delete("/v1/products/{sku}") { _, context in
      try await discontinueProduct(context.pathParameter("sku"))
    }
    router.post("/v1/orders") { request, _ in try await placeOrder(request) }
    router.post("/v1/orders/{id}/cancellation") { request, context in
      try await cancelOrder(context.pathParameter("id"), request)
    }
  }

  private func registerProduct(_ request: Request) async throws -> Response {
    let body = try RegisterProductRequest(try await request.json())
    let command = RegisterProduct(
      ProductRegistered(
        sku: body.sku, name: body.name, description: body.description, unitPrice: body.unitPrice, currency: currency))
    let receipt = try await execute(command)
    return created("/v1/products", body.sku.rawValue, receipt.streams[Product.stream(body.sku.rawValue)]!)
  }

  private func discontinueProduct(_ text: String) async throws -> Response {
    guard let sku = SKU(text) else { throw Problem.notFound("There is no product \(text).") }
    let receipt = try await execute(DiscontinueProduct(sku))
    return changed(sku.rawValue, receipt, receipt.streams[Product.stream(sku.rawValue)]!)
  }

  private func placeOrder(_ request: Request) async throws -> Response {
    let body = try PlaceOrderRequest(try await request.json())
    let orderID = body.orderID ?? UUID.v7().uuidString.lowercased()
    let command = PlaceOrder(
      orderID: orderID, customerID: body.customerID, lines: body.lines, placedAt: body.placedAt ?? .now,
      currency: currency)
    let receipt = try await execute(command)
    return created("/v1/orders", orderID, receipt.streams[Order.stream(orderID)]!)
  }

  private func cancelOrder(_ orderID: String, _ request: Request) async throws -> Response {
    let body = try CancelOrderRequest(try await request.json())
    guard Identifier.problem(orderID) == nil else { throw CommerceRejection.orderNotFound(orderID) }
    let receipt = try await execute(CancelOrder(orderID: orderID, reason: body.reason))
    return changed(orderID, receipt, receipt.streams[Order.stream(orderID)]!)
  }

  private func execute(_ command: some Command) async throws -> Receipt {
    try await processor.execute(
      command, metadata: EventMetadata(correlationID: UUID.v7().uuidString.lowercased()))
  }

  private func created(_ path: String, _ id: String, _ stream: Receipt.StreamReceipt) -> Response {
    let response = CommandResponse(id: id, version: stream.version.rawValue, position: stream.position.rawValue)
    let segment = id.addingPercentEncoding(withAllowedCharacters: .urlUnreserved) ?? id
    return .json(response.json, status: .created, headers: [.location: "\(path)/\(segment)"])
  }

  private func changed(_ id: String, _ receipt: Receipt, _ stream: Receipt.StreamReceipt) -> Response {
    .json(
      CommandResponse(
        id: id, version: stream.version.rawValue, position: stream.position.rawValue, hasChanged: receipt.hasChanged
      ).json)
  }
}

extension CharacterSet {
  /// RFC 3986, section 2.3.
  fileprivate static let urlUnreserved = CharacterSet(
    charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
}
