import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import Projections
import Reactions
import Synchronization
import TestSupport
import Testing

/// Delivers each event as a batch of its own, and knows how far it has come.
private final class SplittingFeed: EventFeed {
  private let whole: PostgresFeed
  private let delivered = Atomic<Int64>(0)

  init(_ reactors: Reactors) {
    whole = PostgresFeed(reactors.pool, pollInterval: .milliseconds(100), logger: .quiet)
  }

  /// The last position that was delivered.
  var position: Int64 { delivered.load(ordering: .acquiring) }

  func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    await whole.run(partitioning, to: Splitting(feed: self, receiver: receiver))
  }

  private struct Splitting<Receiver: FeedReceiver>: FeedReceiver {
    let feed: SplittingFeed
    let receiver: Receiver
    var wantedPartitions: Set<Int> { receiver.wantedPartitions }
    func connectionChanged(isConnected: Bool) { receiver.connectionChanged(isConnected: isConnected) }
    func lost(_ error: any Error) { receiver.lost(error) }

    func receive(_ message: FeedMessage) {
      receiver.receive(
        FeedMessage(
          message.batches.flatMap { batch in
            var previous = batch.previous
            return batch.events.map { event in
              defer { previous = FeedBatch.Previous(position: event.position, eventID: event.id) }
              return FeedBatch(
                historyID: batch.historyID, partition: batch.partition, previous: previous, events: [event])
            }
          }))
      let last = message.batches.compactMap(\.events.last?.position.rawValue).max() ?? 0
      feed.delivered.max(last, ordering: .releasing)
    }
  }
}

/// What the lanes of the projection engine do between the calls of an effect.
extension EffectTests {
  /// The reactor of one effect reads the heads once, at the start. Later events come through the feed or not at all.
  private func withFeed(
    _ reactors: Reactors, _ telling: Telling, _ feed: SplittingFeed, _ body: () async throws -> Void
  )
    async throws
  {
    try await withServices(reactors.services(telling, feed: feed, headInterval: .seconds(3600))) {
      try await reactors.begun("telling")
      try await eventually("the feed flows") {
        try await reactors.append([(.reported(number: 0), "first")])
        return !telling.recipient.keys.isEmpty
      }
      try await body()
    }
  }

  @Test(
    "A call does not wait behind events from which nothing follows, however many there are",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func idleEvents() async throws {
    let (reactors, recipient) = (Reactors(), Recipient())
    let telling = Telling(limits: Telling.limited { $0.concurrency = 1 }, recipient: recipient)
    try await withFeed(reactors, telling, SplittingFeed(reactors)) {
      for _ in 0..<10 { try await reactors.append((0..<200).map { (.ended, "\($0)") }) }
      try await reactors.append((0..<16).map { (.reported(number: 1), "last-\($0)") })
      try await eventually("the last calls are made") {
        (0..<16).allSatisfy { recipient.numbers("last-\($0)") == [1] }
      }
    }
  }

  @Test(
    "The checkpoint of a partition without work is stored, although its lane is busy without a pause",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func busyLane() async throws {
    let (reactors, isOver) = (Reactors(), Toggle())
    let feed = SplittingFeed(reactors)
    // When a call ends, the lane has the next event already.
    let recipient = Recipient { call in
      guard call.job == "busy", !isOver.isOn else { return }
      try await reactors.append([(.reported(number: call.number + 1), "busy")])
      let head = try await reactors.store.head().rawValue
      try await eventually("the next event is delivered") { feed.position >= head }
    }
    func index(_ job: String) -> Int { Partitioning.standard.partition(of: Job.stream(job)).index }
    let (busy, lanes) = (index("busy"), Projector.Settings().lanes)
    let idle = try #require(
      (0...).lazy.map { "idle-\($0)" }.first {
        index($0) != busy && index($0) % lanes == busy % lanes
      })
    try await withFeed(reactors, Telling(recipient: recipient), feed) {
      try await reactors.append([(.reported(number: 0), "busy")])
      try await eventually("the lane is busy") { recipient.numbers("busy").count > 1 }
      try await reactors.append([(.ended, idle)])
      try await eventually("the checkpoint is stored") {
        try await reactors.pool.query(
          """
          select c.position = e.position from projections.checkpoints c, event_store.events e
          where c.partition = \(Int32(index(idle))) and e.stream = \("job-\(idle)")
          """
        ).value(Bool.self)
      }
      isOver.turnOn()
      // The one that waits for the feed needs it.
      try await eventually("the calls have ended") { recipient.running == 0 }
    }
  }

  @Test(
    "A call that has succeeded is not made again, although all connections break before that is on record",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func brokenRecord() async throws {
    let (reactors, isOver) = (Reactors(), Toggle())
    let recipient = Recipient { call in
      guard call.job == "a", !isOver.isOn else { return }
      isOver.turnOn()
      _ = try await FreshDatabase.current.connect().query(
        """
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
        """)
    }
    try await withServices(reactors.services(Telling(recipient: recipient))) {
      try await reactors.begun("telling")
      try await reactors.append([(.reported(number: 0), "a")])
      // The test's own connections are broken too.
      try await eventually("the call is on record") {
        (try? await reactors.outcomes("a").contains("succeeded")) ?? false
      }
      try await reactors.append([(.reported(number: 1), "a")])
      try await eventually("it goes on") { recipient.numbers("a").contains(1) }
    }
    #expect(recipient.numbers("a") == [0, 1])
    #expect(try await reactors.outcomes("a") == ["succeeded", "succeeded"])
  }

  @Test(
    "Slow calls keep no parked stream waiting that a person retries",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func slowCalls() async throws {
    let (reactors, repaired, gate) = (Reactors(), Toggle(), Gate())
    let limits = Telling.limited {
      $0.concurrency = 3
      $0.timeLimit = .seconds(3600)
    }
    let recipient = Recipient { call in
      if call.job == "a", !repaired.isOn { throw PermanentFailure("no such address") }
      // One of the six calls that the engine gives the effect at once.
      if call.job != "a", call.number.isMultiple(of: 6) { await gate.wait() }
    }
    try await withServices(reactors.services(Telling(limits: limits, recipient: recipient))) {
      defer { gate.open() }
      try await reactors.begun("telling")
      try await reactors.append([(.reported(number: 1), "a")])
      try await eventually("it waits for a person") { try await reactors.parked().count == 1 }
      // Of the same partition. The slow ones would soon take all places.
      try await reactors.append(streams(200, besides: "a").enumerated().map { (.reported(number: $0), $1) })
      try await eventually("a slow call has begun") { recipient.running > 0 }
      repaired.turnOn()
      #expect(try await ParkedStreams(reactors.pool).retry("reaction/telling", "job-a") == 1)
      try await eventually("it was retried") { recipient.numbers("a") == [1] }
      gate.open()
      try await eventually("the recipient has every call") { recipient.keys.count == 201 }
    }
  }
}
