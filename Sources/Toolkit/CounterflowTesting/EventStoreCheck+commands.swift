internal import EventSourcing
internal import FoundationEssentials
internal import Machine
internal import Testing

// What a store keeps beside events: the responses of commands, and snapshots.
extension EventStoreCheck {
  static let ofCommands = [
    EventStoreCheck(
      testDescription: "a response is kept with its key, and a batch that repeats a key with events appends nothing",
      body: keys),
    EventStoreCheck(
      testDescription: "a batch that repeats keys without events is appended, and tells their responses", body: repeats),
    EventStoreCheck(testDescription: "a batch that was decided on another history is not appended", body: otherHistory),
    EventStoreCheck(
      testDescription: "a decision under locks gets the new events, and may decide nothing", body: holdingLocks),
    EventStoreCheck(
      testDescription: "the newest snapshot of a schema version is kept, and left out without its event",
      body: snapshots),
  ]
}

private let a = StreamID(rawValue: "thing-a")
private let b = StreamID(rawValue: "thing-b")

private func command(
  _ key: String, scope: String = "ada", fingerprint: UUID = Machine.uuid(), events: Int, _ response: ResponseTemplate?
) -> AppendBatch.Command {
  .init(
    key: IdempotencyKey(scope: scope, key: key), fingerprint: fingerprint, eventCount: events, response: response)
}

private func text(_ text: String, offset: Int? = nil) -> ResponseTemplate {
  ResponseTemplate(Array(text.utf8), offset: offset)
}

@Sendable private func keys(_ store: any EventStore) async throws {
  let fingerprint = Machine.uuid()
  // The mark stands for the position of the batch's second event.
  let marked = text("at \u{1}", offset: 1)
  let batch = AppendBatch(
    expectedVersions: [:], events: [event(b), event(a)],
    commands: [
      command("first", events: 1, text("b")), command("second", fingerprint: fingerprint, events: 1, marked),
    ])
  guard case .appended(_, _, let none, _) = try await store.append(batch) else {
    return #expect(Bool(false), "not appended")
  }
  #expect(none.isEmpty)
  let stored = StoredResponse(fingerprint: fingerprint, text: Array("at 2".utf8))
  let again = AppendBatch(
    expectedVersions: [:], events: [event(b), event(a)],
    commands: [command("third", events: 1, text("c")), command("second", events: 1, text("other"))])
  #expect(try await store.append(again) == .notAppended(conflicts: [:], repeats: [1: stored]))
  // A repeat is reported even if a stream has another version than expected.
  var conflicting = again
  conflicting.expectedVersions = [a: .none]
  #expect(
    try await store.append(conflicting) == .notAppended(conflicts: [a: Version(1)], repeats: [1: stored]))
  #expect(try await store.head() == Position(2))
  // The key of another caller is another key, and nothing of the batch before was kept.
  let others = AppendBatch(
    expectedVersions: [:], events: [event(a), event(b)],
    commands: [
      command("second", scope: "bob", events: 1, text("d")), command("third", events: 1, text("e")),
    ])
  guard case .appended(let first, _, let repeats, _) = try await store.append(others) else {
    return #expect(Bool(false), "not appended")
  }
  #expect(first == Position(3) && repeats.isEmpty)
}

@Sendable private func repeats(_ store: any EventStore) async throws {
  let fingerprint = Machine.uuid()
  func append(_ commands: [AppendBatch.Command], _ events: [NewEvent] = []) async throws -> [Int: StoredResponse]? {
    let batch = AppendBatch(expectedVersions: [:], events: events, commands: commands)
    guard case .appended(_, _, let repeats, _) = try await store.append(batch) else { return nil }
    return repeats
  }
  #expect(try await append([command("nothing", fingerprint: fingerprint, events: 0, text("none"))]) == [:])
  let stored = StoredResponse(fingerprint: fingerprint, text: Array("none".utf8))
  let more = [command("new", events: 1, text("new")), command("nothing", events: 0, text("other"))]
  #expect(try await append(more, [event(a)]) == [1: stored])
  #expect(try await append([command("nothing", events: 0, text("third"))]) == [0: stored])
  // A rejection has no response, and its key can be used again.
  for _ in 0..<2 { #expect(try await append([command("rejected", events: 0, nil)]) == [:]) }
  #expect(try await store.head() == Position(1))
}

@Sendable private func otherHistory(_ store: any EventStore) async throws {
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
  var batch = AppendBatch(expectedVersions: [:], events: [event(a)])
  batch.historyID = Machine.uuid()
  #expect(try await store.append(batch) == .restored())
  batch.historyID = try await store.historyID()
  guard case .appended(let first, _, _, _) = try await store.append(batch) else {
    return #expect(Bool(false), "not appended")
  }
  #expect(first == Position(2))
}

@Sendable private func holdingLocks(_ store: any EventStore) async throws {
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a), event(a), event(b)]))
  let cursors = [a: StreamCursor(version: Version(1), position: Position(1)), b: StreamCursor(version: Version(1))]
  #expect(try await store.appendHoldingLocks(refreshing: cursors, limit: 10) { _ in nil } == nil)
  let result = try await store.appendHoldingLocks(refreshing: cursors, limit: 10) { new in
    guard new.mapValues({ $0.map(\.version.rawValue) }) == [a: [2]] else { return nil }
    return AppendBatch(expectedVersions: [a: Version(2)], events: [event(a)])
  }
  guard case .appended(let first, _, _, _) = result else {
    return #expect(Bool(false), "\(String(describing: result))")
  }
  #expect(first == Position(4))
}

@Sendable private func snapshots(_ store: any EventStore) async throws {
  let new = [event(a), event(a)]
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: new))
  func snapshot(_ version: Int64, _ id: UUID, _ state: String) -> Snapshot {
    Snapshot(
      stream: a, schemaVersion: 1, version: Version(version), position: Position(version), eventID: id,
      state: Array(state.utf8))
  }
  try await store.save(snapshot(2, new[1].id, #"{"n":2}"#))
  try await store.save(snapshot(1, new[0].id, #"{"n":1}"#))
  #expect(try await store.snapshots(of: [a: 1, b: 1]) == [a: snapshot(2, new[1].id, #"{"n":2}"#)])
  #expect(try await store.snapshots(of: [a: 2]).isEmpty)
  try await store.save(snapshot(3, Machine.uuid(), #"{"n":3}"#))
  #expect(try await store.snapshots(of: [a: 1]).isEmpty)
}
