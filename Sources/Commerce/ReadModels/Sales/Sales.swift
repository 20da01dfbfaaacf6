internal import Commerce
internal import EventSourcing
public import JSON
public import Projections

/// What an order or a return adds to the sales figures.
public struct Sale: Codable, Sendable, Hashable {
  struct Line: Codable, Sendable, Hashable {
    let sku: String
    let quantity: Int64
    let amount: Int64
  }

  let isReturn: Bool
  let at: Timestamp
  /// Empty if unknown, like `customerId`.
  let country: String
  let customerId: String
  let lines: [Line]
  var isCancelled = false

  var isSold: Bool { !isReturn && !isCancelled }
  var units: Int64 { isSold ? lines.reduce(0) { $0 + $1.quantity } : 0 }
  private var total: Int64 { lines.reduce(0) { $0 + $1.amount } }
  var gross: Int64 { isSold ? total : 0 }
  var cancelled: Int64 { isCancelled ? total : 0 }
  var returned: Int64 { isReturn ? total : 0 }
}

/// Sales by day, country, product and customer. An order counts on the UTC day on which it was placed, unless it is
/// cancelled. A return counts on the UTC day on which it came back.
public struct Sales: ReadModel {
  /// A line with its order or return.
  struct SoldLine {
    let sale: Sale
    let line: Sale.Line
  }

  public let name = "sales"
  public let version = 1

  /// The keys are whole stream names, because an order and a return can have the same id.
  public let sources = [
    RowSource<Sale>(Order.self, key: \.rawValue) { event, row in
      switch event.event {
      case .placed(let placed):
        row = Sale(
          isReturn: false, at: placed.placedAt, country: placed.country ?? "", customerId: placed.customerID ?? "",
          lines: placed.lines.map { .init(sku: $0.sku.rawValue, quantity: $0.quantity, amount: $0.total) })
      case .cancelled:
        guard row != nil else { throw MissingRow() }
        row?.isCancelled = true
      // The return's own stream counts returned items.
      case .paid, .shipped, .delivered, .itemsReturned: break
      }
    },
    RowSource(Return.self, key: \.rawValue) { event, row in
      guard case .recorded(let returned) = event.event else { return }
      row = Sale(
        isReturn: true, at: returned.returnedAt, country: returned.country ?? "",
        customerId: returned.customerID ?? "",
        lines: returned.lines.map { .init(sku: $0.sku.rawValue, quantity: $0.quantity, amount: $0.total) })
    },
  ]

  private static let figures: [Measure<Sale>] = [
    .sum("orders") { $0.isSold ? 1 : 0 }, .sum("units", \.units), .sum("gross", \.gross),
    .sum("cancelled", \.cancelled), .sum("returned", \.returned),
  ]

  public let totals = [
    Totals("sales_months", by: [.month("month", \.at), .text("country", \.country)], figures),
    Totals("sales_days", by: [.day("day", \.at), .text("country", \.country)], figures),
    Totals(
      "sales_products", of: { sale in sale.isCancelled ? [] : sale.lines.map { SoldLine(sale: sale, line: $0) } },
      by: [.day("day", \.sale.at), .text("country", \.sale.country), .text("sku", \.line.sku)],
      [
        .sum("units") { $0.sale.isReturn ? 0 : $0.line.quantity },
        .sum("gross") { $0.sale.isReturn ? 0 : $0.line.amount },
        .sum("returned") { $0.sale.isReturn ? $0.line.amount : 0 },
      ]),
    Totals("sales_totals", of: { $0.isSold ? $0.lines : [] }, by: [.text("sku", \.sku)], [.sum("units", \.quantity)]),
    Totals(
      "sales_customers", of: { $0.isCancelled || $0.customerId.isEmpty ? [] : [$0] },
      by: [.text("customer_id", \.customerId)],
      [.sum("orders") { $0.isSold ? 1 : 0 }, .sum("gross", \.gross), .sum("returned", \.returned)]),
  ]

  public init() {}

  /// Written by hand for speed, because each order is encoded here (decision 22).
  public static func encode(_ row: Sale, into json: inout JSONWriter) {
    json.object { json in
      json.member("isReturn", row.isReturn)
      json.member("at", row.at.description)
      json.member("country", row.country)
      json.member("customerId", row.customerId)
      json.member("lines") { json in
        json.array(row.lines) { json, line in
          json.object { json in
            json.member("sku", line.sku)
            json.member("quantity", line.quantity)
            json.member("amount", line.amount)
          }
        }
      }
      json.member("isCancelled", row.isCancelled)
    }
  }
}
