import Commerce
import EventSourcing
import Foundation
import JSON
import Logging
import Postgres
import PostgresEventStore

/// Appends orders to the write store in batches, without HTTP, with two concurrent writers. Prints events per second, and how
/// long an append takes.
///
///     append-benchmark SECONDS [BATCH]  for SECONDS; 200 commands per batch by default. With --scheduling, each command
///                                       also schedules another one.
///     append-benchmark --fill EVENTS    until the store holds EVENTS events
///     append-benchmark --spread ORDERS  ORDERS of 500 products by 2,000 customers over two years; needs an empty store
///
/// Each command places one order of two lines: one event, a new stream with an expected version, and an idempotency key
/// with its response.
@main
struct AppendBenchmark {
  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst().filter { !$0.hasPrefix("--") }
    let isFilling = CommandLine.arguments.contains("--fill")
    guard let url = ProcessInfo.processInfo.environment["WRITE_DATABASE_URL"],
      let amount = arguments.first.flatMap({ Int($0) })
    else {
      fail(
        "usage: WRITE_DATABASE_URL=… append-benchmark SECONDS [BATCH] [--scheduling] | --fill EVENTS | --spread ORDERS")
    }
    let batchSize = isFilling ? 1000 : arguments.dropFirst().first.flatMap { Int($0) } ?? 200
    let pool = PostgresPool(
      PostgresConfiguration(url: url, applicationName: "append-benchmark"), limits: .init(size: 2),
      logger: Logger(label: "append-benchmark"))
    let store = PostgresEventStore(pool, appendTimeout: .seconds(60))
    if CommandLine.arguments.contains("--spread") { return try await Spread(store, PersonalKeys(pool)).append(amount) }
    let start = ContinuousClock.now
    let isEnough: @Sendable (Int) async throws -> Bool = { count in
      guard isFilling else { return ContinuousClock.now - start >= .seconds(amount) }
      return count % 100_000 == 0 ? try await store.head().rawValue >= Int64(amount) : false
    }
    async let first = write(store, batchSize, until: isEnough)
    async let second = write(store, batchSize, until: isEnough)
    let times = try await (first + second).sorted()
    let rate = Double(times.count * batchSize) / ((ContinuousClock.now - start) / .seconds(1))
    func percentile(_ share: Double) -> String {
      let time = times.isEmpty ? .zero : times[Int(Double(times.count) * share)]
      return String(format: "%.2f", time / .milliseconds(1))
    }
    print("events_per_second \(Int(rate)) p50_ms \(percentile(0.5)) p99_ms \(percentile(0.99))")
  }

  /// Returns how long each append took.
  private static func write(
    _ store: PostgresEventStore, _ batchSize: Int, until isEnough: @Sendable (Int) async throws -> Bool
  ) async throws -> [Duration] {
    var times: [Duration] = []
    let isScheduling = CommandLine.arguments.contains("--scheduling")
    while try await !isEnough(times.count * batchSize) {
      let batch = try batch(of: batchSize, isScheduling: isScheduling)
      let start = ContinuousClock.now
      guard case .appended = try await store.append(batch) else { fail("not appended") }
      times.append(ContinuousClock.now - start)
    }
    return times
  }

  private static func batch(of size: Int, isScheduling: Bool) throws -> AppendBatch {
    let time = Timestamp.now
    let lines = ["SKU-1", "SKU-2"].map {
      OrderPlaced.Line(sku: SKU($0)!, name: "Lantern", quantity: 2, unitPrice: 339, tracksStock: false)
    }
    var batch = AppendBatch(expectedVersions: [:], events: [])
    for index in 0..<size {
      let id = UUID.v7(at: time).uuidString.lowercased()
      let key = UUID.v7(at: time).uuidString.lowercased()
      let stream = Order.stream(id)
      let event = OrderEvent.placed(
        OrderPlaced(
          orderID: id, customerID: "c-1029384", country: nil, lines: lines, total: 1356, currency: "GBP", placedAt: time
        ))
      let metadata = EventMetadata(correlationID: key, causationID: key).encoded
      batch.expectedVersions[stream] = Version.none
      batch.events.append(try event.new(in: stream, id: .v7(at: time), metadata: metadata))
      let answer = "201\nLocation: /v1/orders/\(id)\nETag: \"1\"\n\n{\"id\":\"\(id)\",\"version\":1,\"position\":\u{1}}"
      batch.commands.append(
        AppendBatch.Command(
          key: IdempotencyKey(scope: "", key: key), fingerprint: UUID.v7(at: time), eventCount: 1,
          response: ResponseTemplate(Array(answer.utf8), offset: index),
          deadlines: isScheduling ? [deadline(of: id, metadata)] : []))
    }
    return batch
  }

  /// As `cancel-unpaid` schedules it.
  private static func deadline(of order: String, _ metadata: [UInt8]) -> Deadline {
    Deadline(
      id: .v7(), due: .after(.seconds(86_400)), command: "CancelOverdue",
      data: Array(#"{"orderID":"\#(order)","skus":["SKU-1","SKU-2"]}"#.utf8), metadata: metadata)
  }
}

/// Prints the reason and ends the benchmark.
func fail(_ reason: String) -> Never {
  FileHandle.standardError.write(Data("append-benchmark: \(reason)\n".utf8))
  exit(1)
}
