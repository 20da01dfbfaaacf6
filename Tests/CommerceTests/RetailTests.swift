import Commerce
import EventSourcing
import Foundation
import RetailImport
import TestSupport
import Testing

@Suite("Retail files")
struct RetailTests {
  private func file(
    _ lines: [String], currency: String = "GBP", dates: Range<Timestamp>? = nil
  ) throws -> RetailFile {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).csv")
    defer { try? FileManager.default.removeItem(at: url) }
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    try Data(([header] + lines).joined(separator: "\n").utf8).write(to: url)
    return try RetailFile(url, currency: currency, dates: dates)
  }

  @Test(
    "A rejected line is counted under its reason",
    arguments: [
      ("1,A,a,0,2010-12-01T08:00:00Z,1.00,,UK", .notPositiveQuantity),
      ("1,A,a,-1,2010-12-01T08:00:00Z,0,,UK", .notPositiveQuantity),
      ("C1,A,a,1,2010-12-01T08:00:00Z,1.00,,UK", .positiveReturn),
      ("1,A,a,1,2010-12-01T08:00:00Z,0.00,,UK", .notPositivePrice),
      ("1,A,a,1,2010-12-01T08:00:00Z,-5,,UK", .notPositivePrice),
      ("1,A,a,1,2010-12-01T08:00:00Z,0.001,,UK", .fractionalPenny),
      ("1,A,a,1,2010-12-01T08:00:00Z,92233720368547758.99,,UK", .outOfBounds),
      ("1, ,a,1,2010-12-01T08:00:00Z,1,,UK", .missingStockCode),
      ("1,A/B,a,1,2010-12-01T08:00:00Z,1,,UK", .invalidStockCode),
      ("1,A,a,1000001,2010-12-01T08:00:00Z,1,,UK", .outOfBounds),
      ("C1,A,a,-9223372036854775808,2010-12-01T08:00:00Z,1,,UK", .outOfBounds),
      ("1,A,a,1,2010-12-01T08:00:00Z,10000000001,,UK", .outOfBounds),
      ("1,A,a,1,yesterday,1,,UK", .malformed), ("1,A,a,one,2010-12-01T08:00:00Z,1,,UK", .malformed),
      ("1,A,a,1,2010-12-01T08:00:00Z,1.2.3,,UK", .malformed),
      ("1,A,a,1,2010-12-01T08:00:00Z,1.1\u{301},,UK", .malformed), ("1,A,a,1,2010-12-01T08:00:00Z,,,UK", .malformed),
      (",A,a,1,2010-12-01T08:00:00Z,1,,UK", .malformed),
    ] as [(String, RetailFile.Rejection)])
  func rejected(line: String, reason: RetailFile.Rejection) throws {
    let file = try file([line])
    #expect(file.rejected == [reason: 1])
    #expect(file.orders.isEmpty && file.returns.isEmpty && file.products.isEmpty && file.customers.isEmpty)
  }

  @Test("Lines become invoices, products and customers, in the order of their first lines")
  func counted() throws {
    let file = try file([
      "1, a ,,2,2010-12-01T09:00:00Z,1.5,,United Kingdom", "1,A,\"Mug, red\",1,2010-12-01T08:00:00Z,2,7,France",
      "C2,B,,-3,2010-12-02T08:00:00Z,.99,7,France", "3,B,Jug,1,2010-12-03T08:00:00Z,1.00,8,",
    ])
    #expect(file.orders.map(\.number) == ["1", "3"] && file.returns.map(\.number) == ["C2"])
    #expect(file.orders[0].total == 500 && file.orders[0].date == Timestamp("2010-12-01T08:00:00Z"))
    #expect(file.orders[0].country == "United Kingdom" && file.orders[0].customerID == "7")
    #expect(file.products.map(\.sku.rawValue) == ["A", "B"] && file.products.map(\.name) == ["Mug, red", "Jug"])
    #expect(file.products.map(\.unitPrice) == [150, 99] && file.products.map(\.ordered) == [3, 1])
    #expect(file.customers.map(\.id) == ["7", "8"] && file.customers[1].country == nil)
    #expect(file.returns[0].total == 297 && file.lines == 4 && file.rejected.isEmpty)
  }

  @Test(
    "A price is converted to minor units, and a fraction of one is rejected",
    arguments: [
      ("GBP", "12.5", 1_250), ("GBP", "12.500", 1_250), ("GBP", "12.505", nil), ("EUR", ".07", 7),
      ("JPY", "1250", 1_250),
      ("JPY", "1250.00", 1_250), ("JPY", "1250.5", nil), ("KWD", "12.5", 12_500), ("KWD", "0.005", 5),
      ("KWD", "0.0005", nil), ("CLF", "1.2345", 12_345), ("KWD", "92233720368547758", nil),
    ] as [(String, String, Int64?)])
  func currencies(currency: String, price: String, units: Int64?) throws {
    let file = try file(["1,A,a,2,2010-12-01T08:00:00Z,\(price),,UK"], currency: currency)
    #expect(file.products.map(\.unitPrice) == units.map { [$0] } ?? [])
    #expect(file.orders.map(\.total) == units.map { [$0 * 2] } ?? [])
  }

  @Test("The console has the same minor units")
  func console() throws {
    let script = try String(
      contentsOf: TestEnvironment.root.appendingPathComponent("Sources/Toolkit/ConsoleKit/app.js"),
      encoding: .utf8)
    let table = try #require(script.firstMatch(of: /const minorDigits = \{([^}]+)\}/)).1
    let entries = table.matches(of: /([A-Z]{3}): (\d)/).map { (String($0.1), Int($0.2)) }
    #expect(entries.count == 26)
    for (code, digits) in entries { #expect(Currency.minorDigits(of: code) == digits, "\(code)") }
  }

  @Test("An invoice is included or excluded as a whole, by its earliest date")
  func dates() throws {
    let (from, to) = (Timestamp("2010-12-02T00:00:00Z")!, Timestamp("2010-12-03T00:00:00Z")!)
    let lines = [
      "1,A,a,1,2010-12-01T23:59:00Z,1,,UK", "1,A,a,1,2010-12-02T00:01:00Z,1,,UK", "2,A,a,1,2010-12-02T00:00:00Z,1,,UK",
      "3,A,a,1,2010-12-03T00:00:00Z,1,,UK",
    ]
    let file = try file(lines, dates: from..<to)
    #expect(file.orders.map(\.number) == ["2"] && file.outsideDates == 3)
  }

  @Test("Idempotency keys follow from the content, and each part of the file has its own stock receipts")
  func requests() throws {
    let lines = ["A/1,A B,a,1,2010-12-01T08:00:00Z,1,7,UK", "C2,A B,a,-1,2010-12-01T08:00:00Z,1,,UK"]
    let file = try file(lines)
    let whole = RetailImport(file, scope: "")
    #expect(whole.phases.map(\.name) == ["products", "customers", "orders", "returns"])
    let paths = whole.phases.flatMap { $0.chains.flatMap { $0.map(\.path) } }
    #expect(
      paths == [
        "/v1/products", "/v1/products/A%20B/stock/receipts", "/v1/customers", "/v1/orders", "/v1/orders/A%2F1/payment",
        "/v1/orders/A%2F1/shipment", "/v1/returns",
      ])
    let keys = { (phases: [RetailImport.Phase]) in phases.flatMap { $0.chains.flatMap { $0.map(\.key) } } }
    #expect(Set(keys(whole.phases)).count == whole.requests)
    #expect(keys(RetailImport(file, scope: "").phases) == keys(whole.phases))
    let part = keys(RetailImport(file, scope: "2010").phases)
    #expect(zip(part, keys(whole.phases)).map { $0 == $1 } == [true, false, true, true, true, true, true])
  }
}
