import Foundation
import Histogram
import JSON
import TestSupport
import Testing

@testable import LoadTest

@Suite("Load generator")
struct LoadTestTests {
  @Test("Arrivals follow a constant rate or a rate that rises linearly")
  func schedule() throws {
    let even = Schedule.open(from: 100, to: 100)
    for number in [0, 1, 50, 999, 5_000] {
      #expect(abs(try #require(even.time(of: number, length: 10)) - Double(number) / 100) < 1e-9)
    }
    let rising = Schedule.open(from: 10, to: 110)
    // 10·t + 10·t²/2 arrivals by the time t, in ten seconds.
    for number in [0, 15, 120, 599] {
      let time = try #require(rising.time(of: number, length: 10))
      #expect(abs(10 * time + 5 * time * time - Double(number)) < 1e-6)
    }
    #expect(abs(try #require(rising.time(of: 710, length: 10)) - 11) < 1e-9, "beyond its end the last rate goes on")
    #expect(Schedule.closed.time(of: 1, length: 1) == nil)
  }

  @Test(
    "The search converges on the highest rate that keeps the objective", arguments: [37.0, 100, 730, 12_345, 8.5, 3.2])
  func search(limit: Double) {
    var search = RateSearch(from: 100)
    var attempts = 0
    while let rate = search.next {
      search.tried(rate, isKept: rate <= limit)
      attempts += 1
    }
    #expect(attempts < 25)
    let found = search.kept ?? 0
    // Within the relative precision, or within two requests a second.
    #expect(found <= limit && (limit / found <= 1 + RateSearch.precision || limit - found < 2))
  }

  @Test("An objective has a figure, a bound and a unit")
  func objective() {
    #expect(Objective(argument: "p99<50ms")?.bound == 50)
    #expect(Objective(argument: "p99.9 < 1.5s")?.bound == 1500)
    #expect(Objective(argument: "max<200ms")?.figure == "max")
    for wrong in ["", "p99", "p99<50", "p98<50ms", "p99<0ms", "p99>50ms", "p99<-1ms"] {
      #expect(Objective(argument: wrong) == nil, "\(wrong)")
    }
  }

  @Test("Responses are parsed wherever the network splits them")
  func parser() throws {
    let bytes = Array(
      "HTTP/1.1 201 Created\r\nX: y\r\nConsistency-Token: abc\r\nContent-Length: 7\r\n\r\n{\"a\":1}HTTP/1.1 304 Not Modified\r\nconnection: Close\r\n\r\n"
        .utf8)
    let first = bytes.firstRange(of: Array("HTTP/1.1 304".utf8))!.lowerBound
    for cut in 0..<first { #expect(try ResponseParser.parse(Array(bytes[..<cut])) == nil, "\(cut)") }
    let (response, length, closes) = try #require(try ResponseParser.parse(bytes))
    #expect((response.status, length, closes) == (201, first, false))
    #expect(response.consistencyToken == "abc" && Array(response.body) == Array(#"{"a":1}"#.utf8))
    let second = try #require(try ResponseParser.parse(Array(bytes[first...])))
    #expect((second.response.status, second.length, second.closes) == (304, bytes.count - first, true))
    for wrong in [
      "SMTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
    ] {
      #expect(throws: ResponseParser.Malformed.self) { try ResponseParser.parse(Array(wrong.utf8)) }
    }
  }

  @Test("Any id is percent-encoded as one path segment")
  func encoding() {
    let found = Preparation.Found(orders: ["a b/c?d"], customers: ["50%"], products: ["Big lamp"])
    for (kind, path) in [
      (Reading.Kind.order, "/v1/orders/a%20b%2Fc%3Fd"), (.page, "/v1/customers/50%25/orders?limit=20"),
      (.product, "/v1/products/Big%20lamp"),
    ] {
      let request = Reading(RequestFormat(token: nil), found, weights: [kind: 1]).begin()
      #expect(String(decoding: request.bytes, as: UTF8.self).hasPrefix("GET \(path) HTTP/1.1\r\n"))
    }
  }

  @Test("An error is named after its status and problem type")
  func errors() {
    func name(_ status: Int, _ body: String) -> String {
      Response(status: status, consistencyToken: nil, body: Array(body.utf8)[...]).error
    }
    #expect(name(422, #"{"type":"urn:counterflow:problem:out-of-stock"}"#) == "HTTP 422 out-of-stock")
    #expect(name(502, "<html>") == "HTTP 502")
  }

  @Test(
    "p99.9 of fewer than 1,000 samples is undefined, and an objective uses the maximum instead",
    arguments: [8, 999, 1000])
  func fewSamples(count: Int) throws {
    var histogram = Histogram<UInt64>.ofLatencies
    for number in 1...count { histogram.record(UInt64(number) * 1000) }
    let latency = try #require(Latency(histogram))
    #expect((latency.p999 == nil) == (count < 1000))
    #expect(latency["p99.9"] == latency.p999 ?? latency.max)
    #expect(latency.curve.last == [100 - 100 / Double(count), latency.max])
    #expect(latency.curve.dropLast().allSatisfy { $0[0] < 100 - 100 / Double(count) })
  }

  @Test("The lag is that of the read model furthest behind")
  func lag() {
    let text = """
      # TYPE counterflow_read_model_lag_seconds gauge
      counterflow_read_model_lag_seconds{projection="orders",server="a"} 0.25
      counterflow_read_model_lag_seconds{projection="sales",server="a"} 1.5
      counterflow_read_model_lag_positions{projection="sales",server="a"} 12
      """
    let lag = Trial.lag(Array(text.utf8)[...])
    #expect(lag.seconds == 1.5 && lag.positions == 12)
  }
}
