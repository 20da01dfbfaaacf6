internal import Commerce
internal import CommerceAPI
internal import Crypto
internal import EventSourcing
internal import HTTPKit
internal import JSON

/// The commands that import a file. Each has an idempotency key made from its content, so a repeat changes nothing.
public struct RetailImport: Sendable {
  public struct Request: Sendable, Hashable {
    public let path: String
    public let body: [UInt8]
    /// The value of the `Idempotency-Key` header.
    public let key: String

    /// - Parameter scope: distinguishes requests that are otherwise equal.
    init(_ path: String, _ body: JSON, scope: String = "") {
      self.path = path
      self.body = body.encoded
      let digest = SHA256.hash(data: Array(path.utf8) + [0] + self.body + [0] + Array(scope.utf8))
      key = "import-retail-" + digest.prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
  }

  /// Requests that must be sent in this order.
  public typealias Chain = [Request]

  /// A phase must end before the next one begins. Its chains may run in parallel.
  public struct Phase: Sendable {
    public let name: String
    public let chains: [Chain]
  }

  public let phases: [Phase]
  public var requests: Int { phases.reduce(0) { $0 + $1.chains.reduce(0) { $0 + $1.count } } }

  /// - Parameter scope: names the imported part of the file. Each part receives its own stock.
  public init(_ file: RetailFile, scope: String) {
    phases = [
      Phase(name: "products", chains: file.products.map { Self.chain($0, scope) }),
      Phase(name: "customers", chains: file.customers.map { [Self.register($0)] }),
      Phase(name: "orders", chains: file.orders.flatMap(Self.parts).map(Self.order)),
      Phase(name: "returns", chains: file.returns.flatMap(Self.parts).map { [Self.comeBack($0)] }),
    ]
  }

  private static func chain(_ product: RetailFile.Product, _ scope: String) -> Chain {
    let sku = product.sku.rawValue
    var chain = [
      Request(
        "/v1/products",
        [
          "sku": .string(sku), "name": .string(product.name ?? sku), "unitPrice": .integer(product.unitPrice),
          "tracksStock": true,
        ])
    ]
    var (rest, part) = (product.ordered, Int64(0))
    while rest > 0 {
      let quantity = min(rest, Bounds.quantity.upperBound)
      rest -= quantity
      part += 1
      chain.append(
        Request(
          "/v1/products/\(sku.percentEncodedSegment)/stock/receipts", ["quantity": .integer(quantity)],
          scope: "\(scope) \(part)"))
    }
    return chain
  }

  private static func register(_ customer: RetailFile.Customer) -> Request {
    var members: [JSON.Member] = [
      .init("customerId", .string(customer.id)), .init("name", .string("Customer \(customer.id)")),
    ]
    if let country = customer.country { members.append(.init("country", .string(country))) }
    return Request("/v1/customers", .object(members))
  }

  /// Splits an invoice that has more lines than an order may have: NUMBER, NUMBER-2, ….
  private static func parts(_ invoice: RetailFile.Invoice) -> [RetailFile.Invoice] {
    stride(from: 0, to: invoice.lines.count, by: Bounds.lines.upperBound).enumerated().map { part, start in
      RetailFile.Invoice(
        number: part == 0 ? invoice.number : "\(invoice.number)-\(part + 1)", customerID: invoice.customerID,
        country: invoice.country, date: invoice.date,
        lines: Array(invoice.lines[start..<min(start + Bounds.lines.upperBound, invoice.lines.count)]))
    }
  }

  private static func order(_ invoice: RetailFile.Invoice) -> Chain {
    let path = "/v1/orders/\(invoice.number.percentEncodedSegment)"
    return [
      Request("/v1/orders", body(invoice, id: "orderId", time: "placedAt")),
      Request("\(path)/payment", ["amount": .integer(invoice.total)]), Request("\(path)/shipment", [:]),
    ]
  }

  private static func comeBack(_ invoice: RetailFile.Invoice) -> Request {
    Request("/v1/returns", body(invoice, id: "returnId", time: "returnedAt"))
  }

  private static func body(_ invoice: RetailFile.Invoice, id: String, time: String) -> JSON {
    var members: [JSON.Member] = [.init(id, .string(invoice.number))]
    if let customerID = invoice.customerID { members.append(.init("customerId", .string(customerID))) }
    if let country = invoice.country { members.append(.init("country", .string(country))) }
    members.append(.init(time, .string(invoice.date.description)))
    members.append(
      .init(
        "lines",
        .array(
          invoice.lines.map {
            [
              "sku": .string($0.sku.rawValue), "quantity": .integer($0.quantity), "unitPrice": .integer($0.unitPrice),
            ]
          })))
    return .object(members)
  }
}
