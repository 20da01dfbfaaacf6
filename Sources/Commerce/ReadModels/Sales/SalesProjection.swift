internal import Commerce
public import EventSourcing
internal import JSON
public import Projections

/// What an order or a return comes to in the figures of sales.
public struct Sale: Sendable, Hashable {
  struct Line: Sendable, Hashable {
    let sku: String
    let quantity: Int64
    let amount: Int64
  }

  let isReturn: Bool
  /// UTC, such as 2026-11-21.
  let day: String
  /// Empty for none.
  let country: String
  let customerID: String
  let lines: [Line]
  var isCancelled = false

  var units: Int64 { lines.reduce(0) { $0 + $1.quantity } }
  var total: Int64 { lines.reduce(0) { $0 + $1.amount } }

  public var json: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("isReturn", isReturn)
      json.member("day", day)
      json.member("country", country)
      json.member("customerId", customerID)
      json.member("lines") { json in
        json.array(lines) { json, line in
          json.object { json in
            json.member("sku", line.sku)
            json.member("quantity", line.quantity)
            json.member("amount", line.amount)
          }
        }
      }
      json.member("isCancelled", isCancelled)
    }
    return json.bytes
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  static func parse(_ bytes: [UInt8]) throws -> Sale {
    let json = try JSON(parsing: bytes)
    guard case .boolean(let isReturn)? = json["isReturn"], let day = json["day"]?.string,
      let country = json["country"]?.string, let customerID = json["customerId"]?.string,
      let lines = json["lines"]?.array, case .boolean(let isCancelled)? = json["isCancelled"]
    else { throw ReadModelError(description: "a sale's document is not as this build writes it") }
    return Sale(
      isReturn: isReturn, day: day, country: country, customerID: customerID,
      lines: try lines.map { line in
        guard let sku = line["sku"]?.string, let quantity = line["quantity"]?.integer,
          let amount = line["amount"]?.integer
        else { throw ReadModelError(description: "a sale's line is not as this build writes it") }
        return Line(sku: sku, quantity: quantity, amount: amount)
      }, isCancelled: isCancelled)
  }

  /// Orders, units, gross, cancelled, returned: what it adds to a day.
  var figures: [Int64] {
    if isReturn { return [0, 0, 0, 0, total] }
    return isCancelled ? [0, 0, 0, total, 0] : [1, units, total, 0, 0]
  }
}

/// Sales by day, country, product and customer. An order counts on the UTC day on which it was placed, as long as it is not
/// cancelled; a return on the day on which it came back.
public struct SalesProjection: Projection {
  public let name = "sales"
  public let version = 2
  public let categories: Set = [Order.category, Return.category]

  public let table = DocumentTable<Sale>(
    "read_models.sale", columns: [], encode: { $0.json }, decode: { try Sale.parse($0) })

  public let aggregates = [
    // First, since its view was once made of the days'.
    AggregateTable<Sale>(
      "read_models.sales_months", keys: [("month", "date"), ("country", "text")],
      sums: ["orders", "units", "gross", "cancelled", "returned"]
    ) { sale in [.init([sale.day.prefix(8) + "01", sale.country], sale.figures)] },
    AggregateTable<Sale>(
      "read_models.sales_days", keys: [("day", "date"), ("country", "text")],
      sums: ["orders", "units", "gross", "cancelled", "returned"]
    ) { sale in [.init([sale.day, sale.country], sale.figures)] },
    AggregateTable<Sale>(
      "read_models.sales_products", keys: [("day", "date"), ("country", "text"), ("sku", "text")],
      sums: ["units", "gross", "returned"]
    ) { sale in
      if sale.isCancelled { return [] }
      return sale.lines.map { line in
        .init(
          [sale.day, sale.country, line.sku], sale.isReturn ? [0, 0, line.amount] : [line.quantity, line.amount, 0])
      }
    },
    AggregateTable<Sale>("read_models.sales_totals", keys: [("sku", "text")], sums: ["units"]) { sale in
      if sale.isCancelled || sale.isReturn { return [] }
      return sale.lines.map { line in .init([line.sku], [line.quantity]) }
    },
    AggregateTable<Sale>(
      "read_models.sales_customers", keys: [("customer_id", "text")], sums: ["orders", "gross", "returned"]
    ) { sale in
      if sale.isCancelled || sale.customerID.isEmpty { return [] }
      return [.init([sale.customerID], sale.isReturn ? [0, 0, sale.total] : [1, sale.total, 0])]
    },
  ]

  public init() {}

  /// Orders and returns may have the same id.
  public func key(of event: RecordedEvent) -> String? { event.stream.rawValue }

  public func apply(_ event: RecordedEvent, to document: inout Sale?) throws {
    if event.stream.category == Return.category {
      guard case .recorded(let returned) = try ReturnEvent(event) else { return }
      document = Sale(
        isReturn: true, day: Self.day(returned.returnedAt), country: returned.country ?? "",
        customerID: returned.customerID ?? "",
        lines: returned.lines.map { .init(sku: $0.sku.rawValue, quantity: $0.quantity, amount: $0.total) })
      return
    }
    switch try OrderEvent(event) {
    case .placed(let placed):
      document = Sale(
        isReturn: false, day: Self.day(placed.placedAt), country: placed.country ?? "",
        customerID: placed.customerID ?? "",
        lines: placed.lines.map { .init(sku: $0.sku.rawValue, quantity: $0.quantity, amount: $0.total) })
    case .cancelled:
      guard document != nil else { throw ReadModelError(description: "\(event.stream) has no row") }
      document?.isCancelled = true
    // A return has a stream of its own.
    case .paid, .shipped, .delivered, .itemsReturned: break
    }
  }

  private static func day(_ time: Timestamp) -> String { String(time.description.prefix(10)) }
}
