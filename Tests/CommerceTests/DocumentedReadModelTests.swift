import Commerce
import CounterflowTesting
import EventSourcing
import Foundation
import Projections
import TestSupport
import Testing

struct Takings: ReadModel {
  struct Row: Codable {
    var status: String
    let customer: String?
    let total: Int64
    let placedAt: Timestamp
  }

  let name = "takings"
  let version = 1

  let sources = [
    RowSource<Row>(Order.self) { event, row in
      switch event.event {
      case .placed(let placed):
        row = Row(status: "placed", customer: placed.customerID, total: placed.total, placedAt: placed.placedAt)
      case .cancelled: row?.status = "cancelled"
      case .paid, .shipped, .delivered, .itemsReturned: break
      }
    }
  ]

  let columns = [Column<Row>("customer", \.customer), Column("placed_at", \.placedAt)]
  let indexes = [Index("customer", "placed_at desc", "key desc")]

  let totals = [
    Totals<Row>(
      "takings_days", of: { $0.status == "cancelled" ? [] : [$0] }, by: [.day("day", \.placedAt)],
      [.count("orders"), .sum("total", \.total), .range("size", \.total)])
  ]
}

@Suite("The read model of docs/projections.md")
struct DocumentedReadModelTests {
  private func placed(_ id: String, _ quantity: Int64, at time: String) throws -> OrderEvent {
    .placed(
      OrderPlaced(
        orderID: id, customerID: "ada", country: nil,
        lines: [
          .init(
            sku: try #require(SKU("LANTERN")), name: "Metal lantern", quantity: quantity, unitPrice: 339,
            tracksStock: false)
        ], total: quantity * 339, currency: "GBP", placedAt: try #require(Timestamp(time))))
  }

  @Test("It makes the rows and totals of the page, and the page shows the code that is compiled here")
  func takings() throws {
    let rows = try given(Order.self, id: "1", placed("1", 6, at: "2026-11-21T09:30:00Z"))
      .and(Order.self, id: "2", placed("2", 1, at: "2026-11-21T10:00:00Z"))
      .and(Order.self, id: "3", placed("3", 2, at: "2026-11-22T00:00:00Z"))
      .and(Order.self, id: "2", .cancelled(OrderCancelled(orderID: "2", reason: nil)))
      .rows(of: Takings())
    #expect(rows.keys == ["1", "2", "3"] && rows["2"]?.status == "cancelled")
    #expect(rows.totals("takings_days") == [["2026-11-21"]: [1, 2034], ["2026-11-22"]: [1, 678]])
    #expect(rows.totals("takings_days_size") == [["2026-11-21", "2034"]: [1], ["2026-11-22", "678"]: [1]])
    let here = try String(contentsOfFile: #filePath, encoding: .utf8)
    let page = try String(
      contentsOf: TestEnvironment.root.appendingPathComponent("docs/projections.md"), encoding: .utf8)
    let start = try #require(page.range(of: "```swift\n")?.upperBound)
    let end = try #require(page.range(of: "```", range: start..<page.endIndex)?.lowerBound)
    #expect(here.contains(page[start..<end]))
  }
}
