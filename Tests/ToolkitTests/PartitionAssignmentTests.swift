import EventSourcing
import Foundation
import RabbitMQFeed
import TestSupport
import Testing

@testable import Projections

private let historyID = UUID()
private let partition = Partitioning.standard.partitions[3]
private let ids = (0...200).map { _ in UUID() }

private func event(_ position: Int, id: UUID? = nil) -> RecordedEvent {
  RecordedEvent(
    position: Position(Int64(position)), stream: StreamID(rawValue: "thing-a"), version: Version(Int64(position)),
    hash: 0,
    id: id ?? ids[position], type: "Happened", schemaVersion: 1, data: [], metadata: [],
    recordedAt: Timestamp(microsecondsSince1970: 0))
}

private func batch(after previous: Int, _ positions: [Int], historyID: UUID = historyID, previousID: UUID? = nil)
  -> FeedBatch
{
  FeedBatch(
    historyID: historyID, partition: partition,
    previous: .init(position: Position(Int64(previous)), eventID: previousID ?? (previous == 0 ? nil : ids[previous])),
    events: positions.map { event($0) })
}

private func head(_ position: Int, id: UUID? = nil) -> PartitionHead {
  PartitionHead(
    partition: partition, position: Position(Int64(position)), eventID: id ?? (position == 0 ? nil : ids[position]))
}

private func assignment(at position: Int, _ mode: PartitionAssignment.Mode = .live) -> PartitionAssignment {
  var assignment = PartitionAssignment(
    partition: partition, historyID: historyID,
    checkpoint: Checkpoint(position: Position(Int64(position)), eventID: position == 0 ? nil : ids[position]))
  assignment.mode = mode
  return assignment
}

private func isFork(_ verdict: PartitionAssignment.Verdict) -> Bool {
  if case .forked = verdict { true } else { false }
}

@Suite("Partition assignments")
struct PartitionAssignmentTests {
  @Test("Events after the checkpoint are applied and move it")
  func follows() {
    var assignment = assignment(at: 0)
    #expect(assignment.receive(batch(after: 0, [2, 5])) == .apply([event(2), event(5)]))
    #expect(assignment.receive(batch(after: 5, [9])) == .apply([event(9)]))
    #expect(assignment.checkpoint == Checkpoint(position: Position(9), eventID: ids[9]))
    #expect(assignment.mode == .live)
  }

  @Test("Events applied before are dropped, and of an overlapping batch only the new ones are applied")
  func duplicates() {
    var assignment = assignment(at: 5)
    #expect(assignment.receive(batch(after: 0, [2])) == .duplicate)
    #expect(assignment.receive(batch(after: 0, [2, 5])) == .duplicate)
    #expect(assignment.receive(batch(after: 2, [5, 7, 8])) == .apply([event(7), event(8)]))
  }

  private func page(_ events: [RecordedEvent], isLast: Bool = true) -> PartitionPage {
    PartitionPage(events: events, isLast: isLast)
  }

  @Test("A gap makes the assignment read from the store until it has caught up")
  func gap() {
    var assignment = assignment(at: 5)
    #expect(assignment.receive(batch(after: 7, [9])) == .gap)
    #expect(assignment.mode == .catchingUp)
    #expect(assignment.receive(batch(after: 5, [7])) == .notLive)
    #expect(assignment.catchUp(page([event(5), event(7)], isLast: false)) == .apply([event(7)]))
    #expect(assignment.mode == .catchingUp)
    #expect(assignment.catchUp(page([event(7), event(9)])) == .apply([event(9)]))
    #expect(assignment.mode == .live)
    #expect(assignment.receive(batch(after: 7, [9])) == .duplicate)
    #expect(assignment.receive(batch(after: 9, [11])) == .apply([event(11)]))
  }

  @Test("A lost tail is detected if the checkpoint has not reached the previously seen head")
  func lostTail() {
    var assignment = assignment(at: 5)
    #expect(assignment.observe(head(7)) == .duplicate)
    #expect(assignment.mode == .live)
    #expect(assignment.observe(head(9)) == .gap)
    #expect(assignment.mode == .catchingUp)
    // An assignment that moved on in between is fine.
    var moving = Self.observed(at: 5, head: 7)
    _ = moving.receive(batch(after: 5, [7]))
    #expect(moving.observe(head(9)) == .duplicate)
    #expect(moving.mode == .live)
  }

  private static func observed(at position: Int, head position2: Int) -> PartitionAssignment {
    var observed = assignment(at: position)
    _ = observed.observe(head(position2))
    return observed
  }

  @Test("A feed with another history is not trusted, and the store is asked instead")
  func staleFeed() {
    let other = FeedBatch(
      historyID: historyID, partition: partition, previous: .init(position: .start, eventID: nil),
      events: [event(5, id: UUID())])
    for delivery in [
      batch(after: 5, [7], historyID: UUID()), batch(after: 5, [7], previousID: UUID()), batch(after: 4, [7]), other,
    ] {
      var assignment = assignment(at: 5)
      #expect(assignment.receive(delivery) == .gap)
      #expect(assignment.catchUp(page([event(5)])) == .duplicate)
      #expect(assignment.receive(batch(after: 5, [7])) == .apply([event(7)]))
    }
  }

  @Test("Another history in the store is reported as a fork, wherever it is noticed")
  func forks() {
    func expectFork(_ change: (inout PartitionAssignment) -> PartitionAssignment.Verdict) {
      var forked = assignment(at: 5)
      #expect(isFork(change(&forked)))
      #expect(forked.mode == .forked)
      #expect(forked.receive(batch(after: 5, [7])) == .notLive)
      #expect(forked.observe(head(9)) == .notLive)
    }
    expectFork { $0.observe(head(4)) }
    expectFork { $0.observe(head(5, id: UUID())) }
    expectFork { $0.catchUp(page([])) }
    expectFork { $0.catchUp(page([event(5, id: UUID()), event(7)])) }
    expectFork { $0.catchUp(page([event(7)])) }
  }

  @Test("With lost, repeated and reordered batches, each event is applied once and in order", arguments: 0..<300)
  func anything(seed: UInt64) {
    var random = SplitMix(state: seed)
    let all = (1...60).filter { _ in Int.random(in: 0..<3, using: &random) > 0 }
    var deliveries: [FeedBatch] = []
    var start = 0
    while start < all.count {
      let end = min(all.count, start + Int.random(in: 1...5, using: &random))
      let one = batch(after: start == 0 ? 0 : all[start - 1], Array(all[start..<end]))
      for _ in 0..<[0, 1, 1, 1, 2].randomElement(using: &random)! { deliveries.append(one) }
      start = end
    }
    for _ in 0..<5 where deliveries.count > 1 {
      deliveries.swapAt(
        .random(in: 0..<deliveries.count, using: &random), .random(in: 0..<deliveries.count, using: &random))
    }
    var assignment = assignment(at: 0)
    var applied: [Int] = []
    func take(_ verdict: PartitionAssignment.Verdict) {
      if case .apply(let events) = verdict { applied += events.map { Int($0.position.rawValue) } }
      #expect(!isFork(verdict))
    }
    func catchUp() {
      while assignment.mode == .catchingUp {
        let from = Int(assignment.checkpoint.position.rawValue)
        let rest = all.filter { $0 >= max(from, 1) }
        take(assignment.catchUp(page(rest.prefix(4).map { event($0) }, isLast: rest.count < 4)))
      }
    }
    for delivery in deliveries {
      take(assignment.receive(delivery))
      if Bool.random(using: &random) { catchUp() }
    }
    for _ in 0..<2 {
      take(assignment.observe(head(all.last ?? 0)))
      catchUp()
    }
    #expect(applied == all)
  }
}

@Suite("Live feed")
struct LiveFeedTests {
  private func recorded(_ position: Int64, _ stream: String, size: Int = 2) -> RecordedEvent {
    let stream = StreamID(rawValue: stream)
    return RecordedEvent(
      position: Position(position), stream: stream, version: Version(position), hash: stream.hash, id: UUID(),
      type: "Ünïcode",
      schemaVersion: 3, data: Array(repeating: 0x20, count: size), metadata: [0x7B, 0x7D], recordedAt: .now)
  }

  private func emptyHeads(_ partitioning: Partitioning) -> [PartitionHead] {
    partitioning.partitions.map { PartitionHead(partition: $0, position: .start, eventID: nil) }
  }

  private func message() -> FeedMessage {
    let historyID = UUID()
    return FeedMessage([
      FeedBatch(
        historyID: historyID, partition: partition, previous: .init(position: Position(7), eventID: UUID()),
        events: [recorded(8, "thing-a"), recorded(10, "thing-ü", size: 1000)]),
      FeedBatch(
        historyID: historyID, partition: Partitioning.standard.partitions[5],
        previous: .init(position: .start, eventID: nil), events: [recorded(9, "thing-b")]),
    ])
  }

  @Test("A message survives a round trip, and a truncated one is rejected at every byte")
  func coding() throws {
    let bytes = message().encoded
    #expect(try FeedMessage.decode(bytes)?.encoded == bytes)
    for length in 0..<bytes.count {
      #expect(throws: FeedDecodingError.self) { try FeedMessage.decode(Array(bytes[..<length])) }
    }
    #expect(throws: FeedDecodingError.self) { try FeedMessage.decode(bytes + [0]) }
  }

  @Test("Only the wanted partitions of a message are decoded")
  func wanted() throws {
    let message = message()
    #expect(try FeedMessage.decode(message.encoded) == message)
    #expect(try FeedMessage.decode(message.encoded, where: { $0 == 5 }) == FeedMessage([message.batches[1]]))
    #expect(try FeedMessage.decode(message.encoded, where: { $0 == 4 }) == nil)
  }

  @Test("Damaged bytes never crash the decoder", arguments: 0..<200)
  func damage(seed: UInt64) {
    var random = SplitMix(state: seed)
    var bytes = message().encoded
    for _ in 0..<3 { bytes[.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random) }
    _ = try? FeedMessage.decode(bytes)
  }

  @Test("Batches of a partition are chained across calls, and large ones are split")
  func batching() throws {
    let partitioning = Partitioning(count: 4)!
    var batcher = FeedBatcher(historyID: historyID, partitioning: partitioning, heads: emptyHeads(partitioning))
    let events = (1...400).map { recorded(Int64($0), "thing-\($0 % 37)", size: $0 % 50 == 0 ? 200_000 : 1_000) }
    let messages = batcher.messages(of: Array(events[..<150])) + batcher.messages(of: Array(events[150...]))
    #expect(messages.allSatisfy { $0.size <= FeedBatcher.maximumSize })
    let batches = messages.flatMap(\.batches)
    for partition in partitioning.partitions {
      var previous = FeedBatch.Previous(position: .start, eventID: nil)
      for batch in batches where batch.partition == partition {
        #expect(batch.previous == previous)
        previous = .init(position: batch.events.last!.position, eventID: batch.events.last!.id)
      }
      #expect(
        batches.filter { $0.partition == partition }.flatMap(\.events)
          == events.filter { partition.contains($0.stream) })
    }
  }

  @Test("Events read together become one message, whatever their number of partitions")
  func gathering() {
    let partitioning = Partitioning.standard
    var batcher = FeedBatcher(historyID: historyID, partitioning: partitioning, heads: emptyHeads(partitioning))
    let messages = batcher.messages(of: (1...200).map { recorded(Int64($0), "thing-\($0)") })
    #expect(messages.map(\.batches.count) == [partitioning.count])
    #expect(batcher.messages(of: []).isEmpty)
  }

  @Test("Events up to a partition's head are not sent again, and the chain starts at the head")
  func startingAtHeads() {
    let events = (1...20).map { recorded(Int64($0), "thing-\($0 % 3)") }
    let partitioning = Partitioning(count: 1)!
    let head = PartitionHead(partition: partitioning.partitions[0], position: Position(12), eventID: events[11].id)
    var batcher = FeedBatcher(historyID: historyID, partitioning: partitioning, heads: [head])
    let batches = batcher.messages(of: Array(events[9...])).flatMap(\.batches)
    #expect(batches.flatMap(\.events) == Array(events[12...]))
    #expect(batches.first?.previous == .init(position: Position(12), eventID: events[11].id))
  }
}
