internal import EventSourcing
internal import FoundationEssentials
internal import PostgresEventStore
internal import Synchronization

/// The event store of one process, over a link.
///
/// It does what `PostgresEventStore` does around its statements.
final class SimulatedEventStore: EventStore {
  private let link: Link
  private let database: Database
  /// The history that this process knows, and its newest event.
  private let known = Mutex<EventTable.Known>(.init())

  init(_ link: Link, _ database: Database) { (self.link, self.database) = (link, database) }

  var knownHistoryID: UUID? { known.withLock { $0.historyID } }

  /// Sends a request, and translates its errors.
  private func ask<Answer: Sendable>(
    isAppend: Bool = false, _ request: @escaping @Sendable (Database) throws -> Answer
  ) async throws(EventStoreError) -> Answer {
    do {
      return try await link.ask(isWrite: isAppend) { [database] in
        return try request(database)
      }
    } catch let error as EventStoreError { throw error } catch let error as LostConnection {
      throw isAppend && error.isUncertain ? .outcomeUnknown("\(error)") : .unavailable("\(error)")
    } catch { throw .failed("\(error)") }
  }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult {
    if knownHistoryID == nil { adopt(try await historyID()) }
    let seen = known.withLock { $0 }
    // Events that were seen in another history do not count for the batch's history.
    let own = batch.historyID.map { $0 == seen.historyID ? seen : .init(historyID: $0) } ?? seen
    let answer = try await ask(isAppend: true) { database in
      let answer = database.contents.events.append(batch, known: own, at: database.now)
      if case .done(.appended) = answer, !batch.events.isEmpty {
        database.contents.eraseKeys(for: batch.events)
        database.tell(database.contents.events.head)
      }
      return answer
    }
    switch answer {
    case .otherHistory(let historyID, let reason):
      guard historyID == batch.historyID ?? seen.historyID else {
        adopt(historyID)
        return .restored()
      }
      database.missEvent()
      throw .historyChanged(reason)
    case .done(let result):
      if case .appended(let first, _, _, _) = result, let last = batch.events.last {
        let position = first.advanced(by: batch.events.count - 1)
        known.withLock { known in
          guard known.historyID == own.historyID, position > known.position else { return }
          (known.position, known.eventID) = (position, last.id)
        }
      }
      return result
    }
  }

  /// Records the newest of some events that were read.
  private func saw(_ events: [RecordedEvent]) -> [RecordedEvent] {
    known.withLock { known in
      guard known.historyID != nil, let last = events.max(by: { $0.position < $1.position }),
        last.position > known.position
      else { return }
      (known.position, known.eventID) = (last.position, last.id)
    }
    return events
  }

  private func adopt(_ historyID: UUID) {
    known.withLock { if $0.historyID != historyID { $0 = .init(historyID: historyID) } }
  }

  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult? {
    if knownHistoryID == nil { adopt(try await historyID()) }
    // The locks are a hint that no decision depends on: here nobody gets them in time.
    let found = try await ask(isAppend: true) { $0.contents.events.events(in: streams, limit: limit) }
    _ = saw(found.values.flatMap { $0 })
    guard let batch = decide(found) else { return nil }
    return try await append(batch)
  }

  func events(
    in stream: StreamID, after version: Version, limit: Int
  ) async throws(EventStoreError) -> [RecordedEvent] {
    saw(try await ask { $0.contents.events.events(in: stream, after: version, limit: limit) })
  }

  func events(
    in streams: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> [StreamID: [RecordedEvent]] {
    let found = try await ask { $0.contents.events.events(in: streams, limit: limit) }
    _ = saw(found.values.flatMap { $0 })
    return found
  }

  func snapshots(of streams: [StreamID: Int]) async throws(EventStoreError) -> [StreamID: Snapshot] {
    try await ask { $0.contents.events.snapshots(of: streams) }
  }

  func save(_ snapshot: Snapshot) async throws(EventStoreError) {
    try await ask { $0.contents.events.save(snapshot) }
  }

  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent] {
    saw(try await ask { $0.contents.events.events(after: position, limit: limit) })
  }

  func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) async throws(EventStoreError) -> PartitionPage {
    let page = try await ask {
      $0.contents.events.page(of: partition, from: position, categories: categories, limit: limit)
    }
    _ = saw(page.events)
    return page
  }

  /// As `ServerWitness` looks at a real store.
  func look() async throws -> ServerWitness.Head {
    try await ask {
      let events = $0.contents.events
      return .init(historyID: events.historyID, position: events.head, eventID: events.event(at: events.head)?.id)
    }
  }

  func head() async throws(EventStoreError) -> Position { try await ask { $0.contents.events.head } }

  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead] {
    try await ask { $0.contents.events.heads(of: partitioning) }
  }

  func historyID() async throws(EventStoreError) -> UUID { try await ask { $0.contents.events.historyID } }

  /// Tells of appends until the task is cancelled, like a connection that listens.
  func listen(_ told: @escaping @Sendable (Position?) -> Void) async {
    guard let host = link.host else { return }
    while !Task.isCancelled {
      do {
        let generation = database.generation
        let id = database.nextListener()
        defer { database.endListening(id) }
        try await link.ask { [database, link] in
          database.listen(id) { position in
            guard !link.isBroken else { return }
            host.call(at: host.now + .microseconds(200)) { told(position) }
          }
        }
        told(nil)
        while database.generation == generation, database.isUp {
          try await host.sleep(until: host.now + .milliseconds(250))
        }
      } catch { try? await host.sleep(until: host.now + .milliseconds(200)) }
    }
  }
}
