public import Commerce
public import EventSourcing
public import Foundation
internal import SwiftCSV

/// A retailer's trade as a file of lines: InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID,
/// Country. An invoice whose number begins with C is a credit note.
public struct RetailFile: Sendable {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    /// Above 0, also of what came back.
    public let quantity: Int64
    /// Minor units.
    public let unitPrice: Int64
  }

  /// The counted lines of one invoice.
  public struct Invoice: Sendable, Hashable {
    public let number: String
    public internal(set) var customerID: String?
    public let country: String?
    /// The earliest of its lines.
    public internal(set) var date: Timestamp
    public internal(set) var lines: [Line]

    /// Minor units; as much as fits, which the store will refuse.
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
    /// The first description that says something, else the code.
    public internal(set) var name: String?
    /// The first price.
    public let unitPrice: Int64
    /// What all orders come to.
    public internal(set) var ordered: Int64 = 0
  }

  public struct Customer: Sendable, Hashable {
    public let id: String
    public let country: String?
  }

  /// Why a line does not count; the first that applies.
  public enum Rejection: String, Sendable, CaseIterable {
    /// Columns are missing, or a number or time is none.
    case malformed
    case notPositiveQuantity, positiveReturn, notPositivePrice
    /// Less than the currency's minor unit.
    case fractionalPenny
    case missingStockCode
    /// No sku can be made of the code.
    case invalidStockCode
    /// A quantity or price that the store does not take.
    case outOfBounds
  }

  public private(set) var lines = 0
  /// Left out by `--from` and `--to`.
  public private(set) var outsideDates = 0
  public private(set) var rejected: [Rejection: Int] = [:]
  /// All in the order of their first lines.
  public private(set) var products: [Product] = []
  public private(set) var customers: [Customer] = []
  public private(set) var orders: [Invoice] = []
  public private(set) var returns: [Invoice] = []

  private static let columns = [
    "InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
  ]

  /// - Parameters:
  ///   - currency: of the prices; its minor unit by ISO 4217 is what they are turned into.
  ///   - dates: invoices that begin at other times are left out.
  /// - Throws: where the file cannot be read, or has other columns.
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

  /// Values in the order in which their keys came first.
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
    /// Decimals that the minor unit stands for.
    let digits: Int
    let dates: Range<Timestamp>?
    /// The earliest date of each invoice, which is chosen whole or not at all.
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

/// A price as it stands in the file.
private struct Price {
  let isPositive: Bool
  /// More decimals than the minor unit stands for.
  let isFractional: Bool
  /// As many as fit; without what is less than one.
  let minorUnits: Int64

  /// nil for what is no number.
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
