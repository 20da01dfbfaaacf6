public import EventSourcing
internal import FoundationEssentials
internal import Postgres

extension PostgresEventStore {
  public func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult {
    let timeout = appendTimeout
    return try await translating(isAppend: true) {
      let seen = try await seen()
      let query = try appendQuery(batch, seen)
      // Never cancelled: after the timeout the connection is dropped, and the outcome is unknown.
      let rows = try await pool.withConnection { try await $0.query(query, timeout: timeout, cancellable: false) }
      return try understand(rows, batch, seen)
    }
  }

  public func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult? {
    let timeout = appendTimeout
    return try await translating(isAppend: true) {
      let seen = try await seen()
      return try await pool.withConnection { connection in
        let new = try await connection.takeContentionLocks(
          Self.contentionLocks(of: streams.keys), Self.events(of: streams, limit: limit), timeout: timeout)
        let events = try Self.events(of: new)
        if let historyID = seen.historyID, let last = events.max(by: { $0.position < $1.position }) {
          history.saw(last.position, last.id, in: historyID)
        }
        guard let batch = decide(Dictionary(grouping: events, by: \.stream)) else {
          try await connection.query("rollback")
          return nil
        }
        let rows = try await connection.appendAndCommit(try appendQuery(batch, seen), timeout: timeout)
        return try understand(rows, batch, seen)
      }
    }
  }

  /// Returns the history of the next append. If none is known yet, reads the store's history id.
  private func seen() async throws -> KnownHistory.Seen {
    if history.seen.historyID == nil { _ = history.adopt(try await historyID()) }
    return history.seen
  }

  private func appendQuery(_ batch: AppendBatch, _ seen: KnownHistory.Seen) throws -> Query {
    if let size = batch.events.map({ $0.data.count + $0.metadata.count }).max(), size > Self.maximumEventSize {
      throw EventStoreError.refused("an event of \(size) bytes; allowed: \(Self.maximumEventSize)")
    }
    let (events, commands) = (batch.events, batch.commands)
    let locks = Self.contentionLocks(of: Self.continued(batch))
    // Events that were seen in another history do not count for the batch's history.
    let seen = batch.historyID.map { $0 == seen.historyID ? seen : KnownHistory.Seen(historyID: $0) } ?? seen
    let deadlines = commands.enumerated().flatMap { index, command in command.deadlines.map { (index, $0) } }
    let fired = commands.compactMap(\.firing)
    // Most appends have neither, and do not pay for them.
    let function = deadlines.isEmpty && fired.isEmpty ? "append" : "append_with_deadlines"
    return """
      select first_position, recorded, history_id, history, conflict_streams, conflict_versions,
        known_commands, known_fingerprints, known_responses, contended
      from event_store.\(unescaped: function)(
        \(optional: seen.historyID), \(seen.position.rawValue), \(optional: seen.eventID),
        \(array: batch.expectedVersions.keys.map(\.rawValue)), \(array: batch.expectedVersions.values.map(\.rawValue)),
        \(array: commands.map(\.key.scope)), \(array: commands.map(\.key.key)),
        \(array: commands.map(\.isKeyGenerated)), \(array: commands.map(\.fingerprint)),
        \(array: commands.map { Int32($0.eventCount) }),
        \(array: commands.map { $0.response.map { PostgresText(utf8: $0.text) } }),
        \(array: commands.map { $0.response?.offset.map { Int32($0) } }),
        \(array: events.map(\.stream.rawValue)), \(array: events.map { Int32($0.stream.hash) }),
        \(array: events.map(\.id)), \(array: events.map(\.type)), \(array: events.map { Int32($0.schemaVersion) }),
        \(array: events.map { PostgresText(utf8: $0.data) }), \(array: events.map { PostgresText(utf8: $0.metadata) }),
        \(array: locks)\(deadlines: deadlines, fired: fired))
      """
  }

  /// The streams that are written, except those that must be new.
  private static func continued(_ batch: AppendBatch) -> Set<StreamID> {
    Set(batch.events.map(\.stream)).filter { batch.expectedVersions[$0] != Version.none }
  }

  /// The most contention locks of one append. Each is an entry in PostgreSQL's lock table, which has room for a few
  /// thousand.
  private static var maximumContentionLocks: Int { 1_024 }

  /// The contention locks of these streams, in the order in which they are taken. Beyond the maximum, streams have no
  /// lock.
  private static func contentionLocks(of streams: some Sequence<StreamID>) -> [Int32] {
    Array(Set(streams.map(contentionLock)).sorted().prefix(maximumContentionLocks))
  }

  /// Has 32 bits, so that streams hardly ever share a lock. A stream that shares the lock of a busy one waits for it
  /// needlessly (decision 2).
  package static func contentionLock(of stream: StreamID) -> Int32 {
    Int32(bitPattern: UInt32(truncatingIfNeeded: stream.wideHash >> 32))
  }

  /// If a response cannot be read, as after a migration to another form, the outcome is unknown.
  private func understand(_ rows: ResultSet, _ batch: AppendBatch, _ seen: KnownHistory.Seen) throws -> AppendResult {
    do { return try result(rows, batch, seen) } catch let error as PostgresError {
      throw EventStoreError.outcomeUnknown("the response to an append cannot be read: \(error)")
    }
  }

  private func result(
    _ rows: ResultSet, _ batch: AppendBatch, _ seen: KnownHistory.Seen
  ) throws -> AppendResult {
    guard let row = rows.first else { throw PostgresError(.decoding, "append answered no row") }
    let historyID = try row.column(2, as: UUID.self)
    if let change = try row.column(3, as: String?.self) {
      guard historyID == batch.historyID ?? seen.historyID else {
        _ = history.adopt(historyID)
        return .restored()
      }
      throw EventStoreError.historyChanged(
        change + "; was it restored? Nothing is appended until restore-finished has been run")
    }
    let (streams, versions, indices, fingerprints, responses) = (
      try row.column(4, as: PostgresArray<String>?.self)?.elements ?? [],
      try row.column(5, as: PostgresArray<Int64>?.self)?.elements ?? [],
      try row.column(6, as: PostgresArray<Int32>?.self)?.elements ?? [],
      try row.column(7, as: PostgresArray<UUID>?.self)?.elements ?? [],
      try row.column(8, as: PostgresArray<String>?.self)?.elements ?? []
    )
    let conflicts = Dictionary(
      uniqueKeysWithValues: zip(streams, versions).map { (StreamID(rawValue: $0), Version($1)) })
    let repeats = Dictionary(
      uniqueKeysWithValues: zip(indices, zip(fingerprints, responses)).map { index, stored in
        (Int(index) - 1, StoredResponse(fingerprint: stored.0, text: Array(stored.1.utf8)))
      })
    guard conflicts.isEmpty, !repeats.keys.contains(where: { batch.commands[$0].eventCount > 0 }) else {
      return .notAppended(conflicts: conflicts, repeats: repeats)
    }
    let first = Position(try row.column(0, as: Int64.self))
    let recordedAt = try row.column(1, as: PostgresTimestamp.self)
    if let last = batch.events.last {
      history.saw(first.advanced(by: batch.events.count - 1), last.id, in: historyID)
    }
    let held = Set(try row.column(9, as: PostgresArray<Int32>?.self)?.elements ?? [])
    let contended: Set = held.isEmpty ? [] : Self.continued(batch).filter { held.contains(Self.contentionLock(of: $0)) }
    return .appended(
      first: first, recordedAt: Timestamp(recordedAt), repeats: repeats,
      contended: contended)
  }
}

extension PostgresConnection {
  /// Begins a transaction, takes the locks and reads new events, in one round trip.
  fileprivate func takeContentionLocks(_ locks: [Int32], _ events: Query, timeout: Duration) throws -> ResultSet {
    let responses = try pipeline(
      ["begin", "select event_store.take_contention_locks(\(array: locks))", events], timeout: timeout)
    _ = try (responses[0].get(), responses[1].get())
    return try responses[2].get()
  }

  /// Appends and commits in one round trip, so that the append does not hold its lock while it waits for the network.
  fileprivate func appendAndCommit(_ append: Query, timeout: Duration) throws -> ResultSet {
    let responses = try pipeline([append, "commit"], timeout: timeout)
    let rows = try responses[0].get()
    _ = try responses[1].get()
    return rows
  }
}

extension Query.Interpolation {
  /// What `append_with_deadlines` takes beside `append`; nothing where there is neither.
  /// - Parameter deadlines: each with the index of its command.
  fileprivate mutating func appendInterpolation(deadlines: [(Int, Deadline)], fired: [UUID]) {
    guard !deadlines.isEmpty || !fired.isEmpty else { return }
    let dues: [(PostgresTimestamp?, Double)] = deadlines.map {
      switch $0.1.due {
      case .at(let time): (PostgresTimestamp(time), 0)
      case .after(let duration): (nil, max(0, duration / .seconds(1)))
      }
    }
    appendLiteral(", ")
    appendInterpolation(array: deadlines.map { Int32($0.0 + 1) })
    appendLiteral(", ")
    appendInterpolation(array: deadlines.map(\.1.id))
    appendLiteral(", ")
    appendInterpolation(array: dues.map(\.0))
    appendLiteral(", ")
    appendInterpolation(array: dues.map(\.1))
    appendLiteral(", ")
    appendInterpolation(array: deadlines.map(\.1.command))
    appendLiteral(", ")
    appendInterpolation(array: deadlines.map { PostgresText(utf8: $0.1.data) })
    appendLiteral(", ")
    appendInterpolation(array: deadlines.map { PostgresText(utf8: $0.1.metadata) })
    appendLiteral(", ")
    appendInterpolation(array: fired)
  }
}
