import EventSourcing
import Foundation
import Testing

@Suite("Streams, times and ids")
struct EventSourcingTests {
  // Computed by an independent program (Python) from the definition in `StreamID.hash`.
  @Test(
    "The hash of a stream never changes",
    arguments: [
      ("order-1", 18715), ("order-2", 43722), ("product-LANTERN", 58054), ("customer-ada", 53235), ("a-é", 14003),
    ] as [(String, UInt16)])
  func hash(name: String, expected: UInt16) {
    #expect(StreamID(rawValue: name).hash == expected)
  }

  @Test("Names with different bytes are different streams, even if Swift compares them as equal")
  func spelling() {
    let (composed, decomposed, kelvin) = ("thing-\u{E9}", "thing-e\u{301}", "thing-\u{212A}")
    #expect(composed == decomposed && kelvin == "thing-K")
    let streams = [composed, decomposed, kelvin, "thing-K"].map { StreamID(rawValue: $0) }
    #expect(Set(streams).count == 4 && Set(streams + streams).count == 4)
    #expect(streams[0] != streams[1] && streams[0] == StreamID(rawValue: composed))
    #expect(ExactText("a") == ExactText("a") && ExactText("a") != ExactText("ab") && ExactText("") == ExactText(""))
  }

  @Test("Streams spread evenly over partitions")
  func spread() {
    var counts = Array(repeating: 0, count: 64)
    for n in 0..<64_000 { counts[Partitioning.finest.partition(of: StreamID(rawValue: "order-\(n)")).index] += 1 }
    // 1,000 are expected in each; six standard deviations are 190.
    #expect(counts.allSatisfy { (810...1190).contains($0) })
  }

  @Test("A coarser partition is a union of finer ones", arguments: Partitioning.allowed)
  func partitions(count: Int) throws {
    let partitioning = try #require(Partitioning(count: count))
    #expect(partitioning.partitions.flatMap(\.buckets) == Array(0..<64))
    for n in 0..<1000 {
      let stream = StreamID(rawValue: "order-\(n)")
      #expect(partitioning.partition(of: stream).buckets.contains(Int(stream.hash) >> 10))
    }
  }

  @Test("An unsupported number of partitions is rejected", arguments: [-1, 0, 3, 65, 128])
  func wrongPartitions(count: Int) { #expect(Partitioning(count: count) == nil) }

  @Test("A stream's name contains its category and id")
  func names() {
    let stream = StreamID(category: "order", id: "a-b-c")
    #expect(stream.rawValue == "order-a-b-c" && stream.category == "order" && stream.id == "a-b-c")
  }

  @Test(
    "RFC 3339 times are parsed and formatted in UTC",
    arguments: [
      ("2026-11-21T09:30:00Z", "2026-11-21T09:30:00Z"), ("2026-11-21t09:30:00.5z", "2026-11-21T09:30:00.500Z"),
      ("2026-11-21T09:30:00.123456789+01:30", "2026-11-21T08:00:00.123456Z"),
      ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
      ("2000-02-29T00:00:00-00:01", "2000-02-29T00:01:00Z"),
      ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"), ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ])
  func times(text: String, written: String) { #expect(Timestamp(text)?.description == written) }

  @Test(
    "Text that is not RFC 3339 is not a time",
    arguments: [
      "", "2026-11-21", "2026-11-21T09:30:00", "2026-11-21T09:30Z", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z",
      "2026-11-21T24:00:00Z", "2026-11-21T09:60:00Z", "2026-06-30T23:59:60Z", "2026-11-21T09:30:00.Z",
      "0000-01-01T00:00:00Z",
      "2026-11-21T09:30:00+24:00", "0001-01-01T00:00:00+00:01", "2026-11-21T09:30:00Z ", "yesterday",
    ])
  func wrongTimes(text: String) { #expect(Timestamp(text) == nil) }

  @Test(
    "A time outside the range of RFC 3339 still has a text",
    arguments: [Int64.min, -62_135_596_800_000_001, .max])
  func distantTimes(microseconds: Int64) {
    let time = Timestamp(microsecondsSince1970: microseconds)
    #expect(!Timestamp.range.contains(time) && Timestamp(time.description) == nil && !time.date.contains("T"))
  }

  @Test("Dates of the Gregorian calendar survive a round trip and match Foundation")
  func days() throws {
    var calendar = Calendar(identifier: .iso8601)
    calendar.timeZone = TimeZone(identifier: "UTC")!
    for day in stride(from: -141_000, to: 150_000, by: 37) as StrideTo<Int64> {
      let time = Timestamp(microsecondsSince1970: day * 86_400_000_000)
      #expect(Timestamp(time.description) == time)
      let parts = calendar.dateComponents(
        [.year, .month, .day], from: Date(timeIntervalSince1970: Double(day) * 86_400))
      #expect(time.description.hasPrefix("\(pad(parts.year!, 4))-\(pad(parts.month!))-\(pad(parts.day!))T"))
    }
  }

  private func pad(_ n: Int, _ width: Int = 2) -> String {
    String(repeating: "0", count: max(0, width - String(n).count)) + String(n)
  }

  @Test("An id contains its time, version and variant, and later ids sort later")
  func ids() {
    let early = UUID.v7(at: Timestamp(microsecondsSince1970: 1_700_000_000_000_000)).uuidString
    let late = UUID.v7(at: Timestamp(microsecondsSince1970: 1_700_000_000_001_000)).uuidString
    #expect(early.hasPrefix("018BCFE5-6800-7") && early < late)
    #expect("89AB".contains(early[early.index(early.startIndex, offsetBy: 19)]))
    #expect(Set((0..<10_000).map { _ in UUID.v7() }).count == 10_000)
  }
}
