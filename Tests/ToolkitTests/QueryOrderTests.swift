import EventSourcing
import Testing

@testable import Projections
@testable import QueryKit

private struct Sale: Aggregate {
  static let category = "sale"
  mutating func apply(_: TripEvent) {}
}

/// Two totals; the name of one is a prefix of the other's.
private struct Sales: ReadModel {
  struct Row: Codable { let country: String, amount: Int64 }

  let name = "sales", version = 1
  let sources = [RowSource<Row>(Sale.self) { _, _ in }]
  let totals = [
    Totals<Row>("sale_sums", by: [.text("country", \.country)], [.sum("amount", \.amount)]),
    Totals("sale_sums_all", by: [], [.count("sales"), .range("amount", \.amount)]),
  ]
}

@Suite("Pages of queries")
struct QueryOrderTests {
  private func order(_ type: String) -> PageOrder {
    PageOrder(terms: [("a", type), ("key", "text")], isDescending: false)
  }

  private func values(_ text: String, _ type: String) -> [String]? {
    order(type).values(OpaqueCursor.encode(#"["\#(text)","k"]"#))
  }

  @Test("A cursor decodes to every value that PostgreSQL can write")
  func places() {
    for text in ["0.011111111111111112", "1e+300", "5e-324", "-0.016666666666666666", "7", "1e-07"] {
      let read = values(text, "double precision")?.first.flatMap { Double($0) }
      #expect(read != nil && read == Double(text), "\(text)")
    }
    #expect(values("-9223372036854775808", "bigint") == ["-9223372036854775808", "k"])
    #expect(values("2026-11-27", "date") == ["2026-11-27", "k"] && values("true", "boolean") == ["true", "k"])
    #expect(values("2026-11-27T09:30:00.123456Z", "timestamptz") == ["2026-11-27T09:30:00.123456Z", "k"])
    // An offset and a number of digits that PostgreSQL does not accept.
    #expect(
      values("2026-01-02T00:00:00.\(String(repeating: "0", count: 200))+23:00", "timestamptz")
        == ["2026-01-01T01:00:00.000000Z", "k"])
  }

  @Test("An invalid cursor is rejected")
  func strangers() {
    for (text, type) in [
      ("0x1p3", "double precision"), ("nan", "double precision"), ("inf", "double precision"),
      ("1e999", "double precision"),
      ("1.0", "bigint"), ("9223372036854775808", "bigint"), ("2026-11-31", "date"), ("yes", "boolean"), ("x", "uuid"),
      ("2026-11-27", "timestamptz"), ("\\u0000", "text"),
    ] { #expect(values(text, type) == nil, "\(text)") }
    #expect(order("text").values(OpaqueCursor.encode(#"["a"]"#)) == nil)
    #expect(order("text").values(OpaqueCursor.encode(#"["a",1]"#)) == nil)
    #expect(order("text").values("?") == nil)
  }

  @Test("Totals have their own ranges, even if their name is a prefix of another's")
  func ranges() {
    let sums = TotalsQuery("sale_sums", Sales().totals)
    #expect(sums.isThere && sums.object == "json_build_object('country', g.country, 'amount', g.amount)")
    let all = TotalsQuery("sale_sums_all", Sales().totals)
    #expect(all.object.contains("'sales', g.sales") && all.object.contains("'amount', json_build_object('smallest'"))
    #expect(!TotalsQuery("sale", Sales().totals).isThere)
  }
}
