import EventSourcing
import Foundation
import JSON
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import QueryKit

@Suite("Slow followers", .tags(.system), .needsServers)
struct SlowFollowerTests {
  /// More events than are kept in memory, so that a late follower reads the store, and than the kernel buffers for a
  /// client.
  private static let count = 50_000
  private static let sku = "LAMP-" + String(repeating: "X", count: 59)

  /// Follows with a small window and reads slowly. Reads everything that is left after a line on standard input.
  private static let slowClient = """
    import select, socket, sys
    host, port = sys.argv[1].removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(b"GET /v1/changes HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    isSlow = True
    while True:
        if isSlow and select.select([sys.stdin], [], [], 0.05)[0]:
            isSlow = False
        try:
            taken = connection.recv(200 if isSlow else 65536)
        except ConnectionResetError:
            break
        if not taken:
            break
        sys.stdout.buffer.write(taken)
        sys.stdout.flush()
    """

  /// The ids of complete messages with an event.
  private func ids(in text: String) -> [String] {
    let blocks = text.replacing("\r\n", with: "\n").components(separatedBy: "\n\n").dropLast()
    return blocks.filter { $0.contains("event: ") }.compactMap { block in
      block.split(separator: "\n").first { $0.hasPrefix("id: ") }.map { String($0.dropFirst(4)) }
    }
  }

  private func positions(_ ids: [String]) -> [Int] { ids.compactMap { Int($0.prefix { $0 != "-" }) } }

  private func append(_ events: [(type: String, data: String)], to store: PostgresEventStore) async throws {
    for start in stride(from: 0, to: events.count, by: 500) {
      let new = events[start..<min(start + 500, events.count)].map { event in
        NewEvent(
          stream: StreamID(rawValue: "product-\(Self.sku)"), id: .v7(), type: event.type,
          schemaVersion: event.type == "ProductRegistered" ? 2 : 1, data: Array(event.data.utf8),
          metadata: Array("{}".utf8))
      }
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: Array(new)))
    }
  }

  @Test(
    "A slow follower is cut off, loses nothing when it continues, and does not block others", .freshDatabase(),
    .freshVirtualHost)
  func slow() async throws {
    let system = System(settings: ["HTTP_ANSWER_TIMEOUT": "3"])
    try await system.migrate()
    let relay = try await system.startReady(.relay)
    let projector = try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    let lamp =
      #"{"sku":"\#(Self.sku)","name":"Lamp","description":null,"unitPrice":1,"currency":"GBP","tracksStock":false}"#
    try await append([("ProductRegistered", lamp)], to: store)
    _ = try await queries.http.get("/v1/products/\(Self.sku)", until: 200)

    try await eventually("following is possible") {
      try await queries.http.stream("/v1/changes", seconds: 1).status == 200
    }
    let slow = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"), ["-c", Self.slowClient, queries.http.base], takesInput: true)
    let fast = try ChildProcess(URL(fileURLWithPath: "/usr/bin/curl"), ["-sN", "\(queries.http.base)/v1/changes"])
    try await eventually("both follow") { slow.output.contains("retry") && fast.output.contains("retry") }
    let price = #"{"sku":"\#(Self.sku)","unitPrice":2}"#
    try await append(Array(repeating: ("ProductPriceChanged", price), count: Self.count), to: store)

    let last = Self.count + 1
    try await eventually("the other one hears of everything") { positions(ids(in: fast.output)).last == last }
    let heard = positions(ids(in: fast.output)).filter { $0 > 1 }
    #expect(heard.elementsEqual(2...last))
    // Unread messages are not kept for the slow client: otherwise it would not be cut off.
    try await eventually("the slow one is cut off") {
      try await queries.http.get("/metrics").text.contains("counterflow_http_slow_clients_total{")
    }
    slow.say("take the rest")
    try await slow.wait()
    let before = ids(in: slow.output).filter { positions([$0]) != [1] }
    let place = try #require(before.last)
    #expect(positions(before).elementsEqual(2...before.count + 1) && before.count < Self.count)

    let rest = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/curl"),
      ["-sN", "-H", "Last-Event-ID: \(place)", "\(queries.http.base)/v1/changes"])
    try await eventually("the rest comes") { positions(ids(in: rest.output)).last == last }
    #expect(positions(ids(in: rest.output)).elementsEqual(before.count + 2...last))
    try await eventually("what followers hear of is complete") {
      let metrics = try await queries.http.get("/metrics").text
      let lag = metrics.firstMatch(of: /(?m)^counterflow_query_changes_lag_seconds (\S+)/)
      return lag.flatMap { Double($0.output.1) }.map { $0 < 10 } ?? false
    }
    await pool.close()
    withExtendedLifetime((relay, projector)) {}
  }

  @Test("All pages up to the end are read one by one, and each is delivered at once")
  func pages() async throws {
    var (asked, told): ([Int64], [Int64]) = ([], [])
    try await ChangeLog.pages(after: Position(10), upTo: Position(1_700)) { position in
      asked.append(position.rawValue)
      let last = min(position.rawValue + 500, 1_700)
      return (position.rawValue + 1...last).map {
        Change(position: Position($0), stream: StreamID(rawValue: "order-1"), type: "OrderPlaced", message: [])
      }
    } tell: { page, last in
      told += page.map(\.position.rawValue)
      #expect(told.last == last.rawValue)
    }
    #expect(asked == [10, 510, 1_010, 1_510])
    #expect(told == Array(11...1_700))
    // A restored store has no events left here.
    try await ChangeLog.pages(after: Position(10), upTo: Position(20)) { _ in
      []
    } tell: { _, _ in
      Issue.record("there is nothing to tell")
    }
  }
}
