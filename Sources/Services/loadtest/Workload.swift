import CommerceAPI
import Foundation
import HTTPKit

/// A source of requests, in journeys of one or more requests.
protocol Workload: AnyObject {
  var name: String { get }
  /// The side that gets the first request of a journey.
  var side: Side { get }
  /// All sides that get requests.
  var sides: Set<Side> { get }
  /// The name of a whole journey in the results; nil if a journey is one request.
  var journey: String? { get }
  /// The first request of a journey.
  func begin() -> Request
  /// Returns the next request after a response, or nil if the journey is over.
  func next(after request: Request, _ response: Response) -> Request?
  /// Returns the path at which query-service shows what the request wrote, or nil if its visibility is not measured.
  func pathOfWhatWasWritten(by request: Request) -> String?
}

extension Workload {
  var sides: Set<Side> { [side] }
  var journey: String? { nil }
  func next(after request: Request, _ response: Response) -> Request? { nil }
  func pathOfWhatWasWritten(by request: Request) -> String? { nil }
}

/// The test data of the workloads.
struct Stock {
  /// Products whose stock is not tracked, each at `price`.
  static let skus = (1...20).map { "LOAD-\($0)" }
  /// The product that all orders of the profile hot take. Its stock is tracked.
  static let hot = "LOAD-HOT"
  static let price = 250
  static let customers = 1_000
}

/// Names that no other run uses.
struct Names {
  private let run: String
  private var last = 0

  init() {
    let moment = UInt64(Date().timeIntervalSince1970 * 1000) << 16 | UInt64.random(in: 0..<65_536)
    run = String(moment, radix: 36)
  }

  mutating func next() -> String {
    last += 1
    return "load-\(run)-\(String(last, radix: 36))"
  }
}

/// Orders of one line. With `isHot`, all orders take from one product's stock.
final class PlacingOrders: Workload {
  let name: String
  let side = Side.command
  private let format: RequestFormat
  private let isHot: Bool
  private var names = Names()

  init(_ format: RequestFormat, isHot: Bool = false) {
    (self.format, self.isHot) = (format, isHot)
    name = isHot ? "hot" : "write"
  }

  func begin() -> Request {
    let id = names.next()
    let sku = isHot ? Stock.hot : Stock.skus.randomElement()!
    let body = """
      {"orderId":"\(id)","customerId":"load-\(Int.random(in: 1...Stock.customers))",\
      "lines":[{"sku":"\(sku)","quantity":1}]}
      """
    return Request(
      side: .command, bytes: format.post("/v1/orders", body, key: id), operation: "place order", subject: id)
  }

  func pathOfWhatWasWritten(by request: Request) -> String? { "/v1/orders/\(request.subject)" }
}

/// Reads, chosen by weight.
final class Reading: Workload {
  enum Kind: String, CaseIterable {
    case order, page, product, search, sales
    var operation: String { self == .page ? "customer's orders" : self == .order ? "order by id" : rawValue }
  }

  let name = "read"
  let side = Side.query
  private let format: RequestFormat
  // Ids, percent-encoded for paths.
  private let orders: [String]
  private let customers: [String]
  private let products: [String]
  private let kinds: [Kind]

  /// - Parameter weights: the relative frequency of each kind.
  init(_ format: RequestFormat, _ found: Preparation.Found, weights: [Kind: Int]) {
    self.format = format
    orders = found.orders.map(\.percentEncodedSegment)
    customers = found.customers.map(\.percentEncodedSegment)
    products = found.products.map(\.percentEncodedSegment)
    kinds = weights.sorted { $0.key.rawValue < $1.key.rawValue }.flatMap { Array(repeating: $0.key, count: $0.value) }
  }

  func begin() -> Request {
    let kind = kinds.randomElement()!
    let path =
      switch kind {
      case .order: "/v1/orders/\(orders.randomElement()!)"
      case .page: "/v1/customers/\(customers.randomElement()!)/orders?limit=20"
      case .product: "/v1/products/\(products.randomElement()!)"
      case .search: "/v1/products?q=\(["load", "lantern", "metal", "red"].randomElement()!)&limit=20"
      case .sales: "/v1/sales?interval=month"
      }
    return Request(side: .query, bytes: format.get(path), operation: kind.operation)
  }
}

/// Reads and writes: `ratio` reads for each write.
final class Mixed: Workload {
  let name = "mixed"
  let side = Side.query
  let sides: Set<Side> = [.command, .query]
  private let reading: Reading
  private let writing: PlacingOrders
  private let ratio: Double

  init(_ reading: Reading, _ writing: PlacingOrders, ratio: Double) {
    (self.reading, self.writing, self.ratio) = (reading, writing, ratio)
  }

  func begin() -> Request {
    Double.random(in: 0..<1) < 1 / (1 + ratio) ? writing.begin() : reading.begin()
  }

  func pathOfWhatWasWritten(by request: Request) -> String? {
    request.side == .command ? writing.pathOfWhatWasWritten(by: request) : nil
  }
}

/// Places an order, and reads it with the consistency token of the response.
final class ReadingYourWrites: Workload {
  let name = "read-your-writes"
  let side = Side.command
  let sides: Set<Side> = [.command, .query]
  let journey: String? = "write and read it"
  private let format: RequestFormat
  private let writing: PlacingOrders

  init(_ format: RequestFormat) { (self.format, writing) = (format, PlacingOrders(format)) }

  func begin() -> Request { writing.begin() }

  func next(after request: Request, _ response: Response) -> Request? {
    guard request.step == 0, let token = response.consistencyToken else { return nil }
    return Request(
      side: .query, bytes: format.get("/v1/orders/\(request.subject)", consistencyToken: token),
      operation: "read with its token", subject: request.subject, step: 1)
  }
}

/// The whole life of an order: placed, paid, shipped, delivered.
final class CheckingOut: Workload {
  let name = "checkout"
  let side = Side.command
  let journey: String? = "placed to delivered"
  private let format: RequestFormat
  private let writing: PlacingOrders
  private static let steps: [(operation: String, path: String, body: String)] = [
    ("pay", "payment", #"{"amount":\#(Stock.price)}"#), ("ship", "shipment", #"{"carrier":"DHL"}"#),
    ("deliver", "delivery", "{}"),
  ]

  init(_ format: RequestFormat) { (self.format, writing) = (format, PlacingOrders(format)) }

  func begin() -> Request { writing.begin() }

  func next(after request: Request, _ response: Response) -> Request? {
    guard request.step < Self.steps.count else { return nil }
    let step = Self.steps[request.step]
    let bytes = format.post(
      "/v1/orders/\(request.subject)/\(step.path)", step.body, key: "\(request.subject)-\(step.path)")
    return Request(
      side: .command, bytes: bytes, operation: step.operation, subject: request.subject, step: request.step + 1)
  }

  func pathOfWhatWasWritten(by request: Request) -> String? {
    request.step == 0 ? "/v1/orders/\(request.subject)" : nil
  }
}

/// Requests one path again and again. In a closed loop, that is what wrk does.
final class OnePath: Workload {
  let name = "path"
  let side = Side.query
  private let bytes: [UInt8]
  init(_ format: RequestFormat, path: String) { bytes = format.get(path) }
  func begin() -> Request { Request(side: .query, bytes: bytes, operation: "GET") }
}
