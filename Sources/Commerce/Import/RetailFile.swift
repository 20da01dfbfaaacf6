public import Commerce
public import EventSourcing
public import Foundation
internal import SwiftCSV

/// A retailer's sales as a CSV file with the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate,
/// UnitPrice, CustomerID, Country. An invoice whose number begins with C is a credit note.
public struct RetailFile: Sendable {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    /// Above 0, also for returns.
    public let quantity: Int64
    /// Minor units.
    public let unitPrice: Int64
  }

  /// The accepted lines of one invoice.
  public struct Invoice: Sendable, Hashable {
    public let number: String
    public internal(set) var customerID: String?
    public let country: String?
    /// The earliest date of its lines.
    public internal(set) var date: Timestamp
    public internal(set) var lines: [Line]

    /// Minor units; `Int64.max` on overflow, which command-service rejects.
    public var total: Int64 {
      lines.reduce(0) { total, line in
        let (amount, amountOverflows) = line.quantity.multipliedReportingOverflow(by: line.unitPrice)
        let (sum, sumOverflows) = total.addingReportingOverflow(amount)
        return amountOverflows || sumOverflows ? .max : sum
      }
    }
  }

  public struct Product: Sendable, Hashable {
    public let sku: SKU
    /// The first description that is not empty; nil if there is none.
    public internal(set) var name: String?
    /// The first price, in minor units.
    public let unitPrice: Int64
    /// The quantity in all orders.
    public internal(set) var ordered: Int64 = 0
  }

  public struct Customer: Sendable, Hashable {
    public let id: String
    public let country: String?
  }

  /// Why a line is left out: the first reason that applies.
  public enum Rejection: String, Sendable, CaseIterable {
    /// A column is missing, or a value is not valid.
    case malformed
    case notPositiveQuantity, positiveReturn, notPositivePrice
    /// The price has a fraction of the currency's minor unit.
    case fractionalPenny
    case missingStockCode
    /// The code is not a valid SKU.
    case invalidStockCode
    /// The quantity or price is outside `Bounds`.
    case outOfBounds
  }

  public private(set) var lines = 0
  /// The number of lines that `--from` and `--to` leave out.
  public private(set) var outsideDates = 0
  public private(set) var rejected: [Rejection: Int] = [:]
  /// Like the customers, orders and returns below, in the order of their first lines.
  public private(set) var products: [Product] = []
  public private(set) var customers: [Customer] = []
  public private(set) var orders: [Invoice] = []
  public private(set) var returns: [Invoice] = []

  private static let columns = [
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
  ]

  /// - Parameters:
  ///   - currency: the ISO 4217 code of the prices. They are converted to its minor unit.
  ///   - dates: an invoice is left out if its earliest line is outside this range.
  /// - Throws: if the file cannot be read; `RetailFileError` if a column is missing.
  public init(_ url: URL, currency: String, dates: Range<Timestamp>? = nil) throws {
    let csv = try CSV<Enumerated>(url: url, delimiter: .comma, loadColumns: false)
    var places: [Int] = []
    for column in Self.columns {
      guard let place = csv.header.firstIndex(of: column) else {
        throw RetailFileError(description: "the file has no column \(column); its first line must name \(Self.columns)")
      }
      places.append(place)
    }
    let rows = csv.rows.map { row in places.map { $0 < row.count ? row[$0].trimmingCharacters(in: .whitespaces) : nil }
    }
    var firsts: [String: Timestamp] = [:]
    for row in rows {
      guard let number = row[0], let date = row[4].flatMap({ Timestamp($0) }) else { continue }
      firsts[number] = min(firsts[number] ?? date, date)
    }
    var reader = Reader(digits: Currency.minorDigits(of: currency), dates: dates, firsts: firsts)
    for row in rows { reader.take(row) }
    self = reader.file
    orders = reader.orders.ordered
    returns = reader.returns.ordered
    products = reader.products.ordered
    customers = reader.customers.ordered
  }

  private init() {}

  /// Values in the order in which their keys first appear.
  private struct Ordered<Value> {
    var ordered: [Value] = []
    private var places: [String: Int] = [:]

    mutating func update(_ key: String, first: @autoclosure () -> Value, _ change: (inout Value) -> Void) {
      let place = places[key] ?? ordered.count
      if place == ordered.count {
        places[key] = place
        ordered.append(first())
      }
      change(&ordered[place])
    }
  }

  private struct Reader {
    /// The number of decimals of the minor unit.
    let digits: Int
    let dates: Range<Timestamp>?
    /// The earliest date of each invoice. `dates` selects an invoice as a whole.
    let firsts: [String: Timestamp]
    var file = RetailFile()
    var orders = Ordered<Invoice>()
    var returns = Ordered<Invoice>()
    var products = Ordered<Product>()
    var customers = Ordered<Customer>()

    mutating func take(_ row: [String?]) {
      file.lines += 1
      let fields = row.compactMap(\.self)
      guard fields.count == RetailFile.columns.count, !fields[0].isEmpty, let quantity = Int64(fields[3]),
        let date = Timestamp(fields[4]), let price = Price(fields[5], digits: digits),
        Identifier.problem(fields[0]) == nil,
        fields[6].isEmpty || Identifier.problem(fields[6]) == nil, fields[7].unicodeScalars.count <= 64
      else { return reject(.malformed) }
      if let dates, !dates.contains(firsts[fields[0]] ?? date) {
        file.outsideDates += 1
        return
      }
      let isReturn = fields[0].hasPrefix("C")
      if isReturn ? quantity >= 0 : quantity <= 0 { return reject(isReturn ? .positiveReturn : .notPositiveQuantity) }
      guard price.isPositive else { return reject(.notPositivePrice) }
      guard !price.isFractional else { return reject(.fractionalPenny) }
      guard !fields[1].isEmpty else { return reject(.missingStockCode) }
      guard let sku = SKU(fields[1]) else { return reject(.invalidStockCode) }
      guard Bounds.quantity.contains(Int64(clamping: quantity.magnitude)), Bounds.unitPrice.contains(price.minorUnits)
      else {
        return reject(.outOfBounds)
      }
      let line = Line(sku: sku, quantity: Int64(clamping: quantity.magnitude), unitPrice: price.minorUnits)
      count(line, isReturn, fields, date)
    }

    private mutating func count(_ line: Line, _ isReturn: Bool, _ fields: [String], _ date: Timestamp) {
      let customerID = fields[6].isEmpty ? nil : fields[6]
      let country = fields[7].isEmpty ? nil : fields[7]
      let name = String(String.UnicodeScalarView(fields[2].unicodeScalars.prefix(Bounds.nameLength.upperBound)))
      products.update(line.sku.rawValue, first: Product(sku: line.sku, unitPrice: line.unitPrice)) { product in
        if product.name == nil, !name.isEmpty { product.name = name }
        if !isReturn { product.ordered += line.quantity }
      }
      if let customerID {
        customers.update(customerID, first: Customer(id: customerID, country: country)) { _ in }
      }
      let invoice = Invoice(number: fields[0], customerID: customerID, country: country, date: date, lines: [])
      let add = { (invoice: inout Invoice) in
        invoice.customerID = invoice.customerID ?? customerID
        invoice.date = min(invoice.date, date)
        invoice.lines.append(line)
      }
      if isReturn {
        returns.update(fields[0], first: invoice, add)
      } else {
        orders.update(fields[0], first: invoice, add)
      }
    }

    private mutating func reject(_ reason: Rejection) { file.rejected[reason, default: 0] += 1 }
  }
}

public struct RetailFileError: Error, CustomStringConvertible {
  public let description: String
}

/// A price in the file.
private struct Price {
  let isPositive: Bool
  /// Whether the price has more decimals than the minor unit.
  let isFractional: Bool
  /// The price without a fraction of a minor unit; `Int64.max` if it does not fit.
  let minorUnits: Int64

  /// Returns nil if the text is not a number.
  init?(_ text: String, digits: Int) {
    let isNegative = text.hasPrefix("-")
    let parts = text.drop { $0 == "-" || $0 == "+" }.split(separator: ".", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts.contains(where: { !$0.isEmpty }),
      parts.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
      let whole = Int64(parts[0].isEmpty ? "0" : parts[0])
    else { return nil }
    let decimals = parts.count == 2 ? parts[1] : ""
    isPositive = !isNegative && (whole > 0 || decimals.contains { $0 != "0" })
    isFractional = decimals.dropFirst(digits).contains { $0 != "0" }
    var (units, overflows) = (whole, false)
    for digit in (decimals + String(repeating: "0", count: digits)).utf8.prefix(digits) {
      let (shifted, shiftOverflows) = units.multipliedReportingOverflow(by: 10)
      let (sum, sumOverflows) = shifted.addingReportingOverflow(Int64(digit - UInt8(ascii: "0")))
      (units, overflows) = (sum, overflows || shiftOverflows || sumOverflows)
    }
    minorUnits = overflows ? .max : units
  }
}
