public import EventSourcing
internal import FoundationEssentials
public import Testing

/// One of the checks that every event store must pass.
///
///     @Test("behaves as a store does", arguments: EventStoreCheck.all)
///     func conforms(check: EventStoreCheck) async throws { try await check(MyStore()) }
public struct EventStoreCheck: Sendable, CustomTestStringConvertible {
  public let testDescription: String
  let body: @Sendable (any EventStore) async throws -> Void

  /// Runs the check. Failures are issues of the running test.
  /// - Parameter store: An empty store that nothing else uses.
  public func callAsFunction(_ store: any EventStore) async throws { try await body(store) }

  /// Every check. A store must pass all of them.
  public static let all =
    [
      EventStoreCheck(testDescription: "an event is read back as it was appended", body: roundTrip),
      EventStoreCheck(
        testDescription: "positions and versions are dense over batches of several streams", body: density),
      EventStoreCheck(
        testDescription: "an expected version that does not match stops the whole batch and tells the actual one",
        body: conflicts),
      EventStoreCheck(
        testDescription: "expected versions are checked without events too, and nothing is taken",
        body: expectedVersionsAlone),
      EventStoreCheck(testDescription: "reads begin after a place and end at a limit", body: reads),
      EventStoreCheck(testDescription: "a page has the categories that are wanted, and its ends", body: pages),
      EventStoreCheck(
        testDescription: "many appenders at once: no gap, no lost update, and readers never see one", body: concurrency),
    ] + ofCommands
}

/// Returns an event whose type and content do not matter.
func event(_ stream: StreamID, _ data: String = "{}") -> NewEvent {
  NewEvent(
    stream: stream, id: .v7(), type: "Happened", schemaVersion: 1, data: Array(data.utf8),
    metadata: Array("{\"m\":1}".utf8))
}

private let a = StreamID(rawValue: "thing-a")
private let b = StreamID(rawValue: "thing-b")

@Sendable private func roundTrip(_ store: any EventStore) async throws {
  let new = event(a, #"{"text":"ünï 🎁 \n","n":-9223372036854775808,"same":1, "order": [ 2 ]}"#)
  guard
    case .appended(let first, let recordedAt, _, _) = try await store.append(
      AppendBatch(expectedVersions: [a: .none], events: [new]))
  else { return #expect(Bool(false), "not appended") }
  #expect(first == Position(1))
  let read = try #require(try await store.events(in: a, after: .none, limit: 10).first)
  #expect(
    read
      == RecordedEvent(
        position: Position(1), stream: a, version: Version(1), hash: a.hash, id: new.id, type: "Happened",
        schemaVersion: 1, data: new.data, metadata: new.metadata, recordedAt: recordedAt))
}

@Sendable private func density(_ store: any EventStore) async throws {
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a), event(b), event(a)]))
  let result = try await store.append(
    AppendBatch(expectedVersions: [a: Version(2), b: Version(1)], events: [event(b), event(a), event(b)]))
  guard case .appended(let first, _, _, _) = result else { return #expect(Bool(false), "\(result)") }
  #expect(first == Position(4))
  let all = try await store.events(after: .start, limit: 100)
  #expect(all.map(\.position.rawValue) == [1, 2, 3, 4, 5, 6])
  #expect(all.map(\.stream) == [a, b, a, b, a, b])
  #expect(all.map(\.version.rawValue) == [1, 1, 2, 2, 3, 3])
  #expect(zip(all, all.dropFirst()).allSatisfy { $0.recordedAt <= $1.recordedAt })
  #expect(try await store.head() == Position(6))
}

@Sendable private func conflicts(_ store: any EventStore) async throws {
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
  let c = StreamID(rawValue: "thing-c")
  for (expectedVersions, actual) in [
    ([a: Version.none], [a: Version(1)]), ([a: Version(2)], [a: Version(1)]), ([b: Version(1)], [b: Version.none]),
    ([a: Version(7), b: Version(7), c: Version.none], [a: Version(1), b: Version.none]),
  ] {
    #expect(
      try await store.append(AppendBatch(expectedVersions: expectedVersions, events: [event(a), event(c)]))
        == .notAppended(conflicts: actual))
  }
  #expect(try await store.head() == Position(1))
  #expect(try await store.events(in: c, after: .none, limit: 10).isEmpty)
}

@Sendable private func expectedVersionsAlone(_ store: any EventStore) async throws {
  _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
  #expect(
    try await store.append(AppendBatch(expectedVersions: [a: .none], events: []))
      == .notAppended(conflicts: [a: Version(1)]))
  guard
    case .appended(let next, _, _, _) = try await store.append(
      AppendBatch(expectedVersions: [a: Version(1)], events: []))
  else { return #expect(Bool(false), "not confirmed") }
  #expect(next == Position(2))
  #expect(try await store.head() == Position(1))
}

@Sendable private func reads(_ store: any EventStore) async throws {
  let streams = (0..<40).map { StreamID(rawValue: "thing-\($0)") }
  for round in 0..<5 {
    _ = try await store.append(
      AppendBatch(expectedVersions: [:], events: streams.map { event($0, "{\"round\":\(round)}") }))
  }
  #expect(try await store.events(in: streams[3], after: Version(2), limit: 2).map(\.version.rawValue) == [3, 4])
  #expect(try await store.events(in: streams[3], after: Version(5), limit: 2).isEmpty)
  #expect(try await store.events(after: Position(198), limit: 10).map(\.position.rawValue) == [199, 200])
  let several = try await store.events(
    in: [
      streams[1]: StreamCursor(version: .none), streams[2]: StreamCursor(version: Version(2), position: Position(43)),
      StreamID(rawValue: "thing-missing"): StreamCursor(version: .none),
    ], limit: 4)
  #expect(
    several.mapValues { $0.map(\.version.rawValue) } == [streams[1]: [1, 2, 3, 4], streams[2]: [3, 4, 5]])
  for count in Partitioning.allowed {
    let partitioning = try #require(Partitioning(count: count))
    let heads = try await store.heads(of: partitioning)
    var positions: [Int64] = []
    for partition in partitioning.partitions {
      let whole = try await store.page(
        of: partition, from: Position(1), categories: ["thing"], limit: PageLimit(events: 1000))
      let events = whole.events
      #expect(whole.isLast)
      #expect(events.allSatisfy { partition.contains($0.stream) })
      #expect(zip(events, events.dropFirst()).allSatisfy { $0.position < $1.position })
      #expect(heads[partition.index].position == events.last?.position ?? .start)
      #expect(heads[partition.index].eventID == events.last?.id)
      if events.count > 2 {
        let some = try await store.page(
          of: partition, from: events[1].position, categories: ["thing"], limit: PageLimit(events: 2))
        #expect(some == PartitionPage(events: Array(events[1...2]), isLast: false))
      }
      positions += events.map(\.position.rawValue)
    }
    #expect(positions.sorted() == Array(1...200))
  }
}

@Sendable private func pages(_ store: any EventStore) async throws {
  let partition = try #require(Partitioning(count: 1)).partitions[0]
  let empty = try await store.page(of: partition, from: Position(1), categories: [], limit: PageLimit(events: 9))
  #expect(empty == PartitionPage(events: [], isLast: true))
  // Categories a b a b …; each event has 100 bytes of data, and a few of metadata.
  let data = "\"\(String(repeating: "x", count: 98))\""
  for n in 1...12 {
    let stream = StreamID(rawValue: "\(n.isMultiple(of: 2) ? "b" : "a")-\(n)")
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(stream, data)]))
  }
  func page(_ from: Int64, _ categories: Set<String>, _ events: Int, bytes: Int = 1_000_000) async throws -> [Int64] {
    let page = try await store.page(
      of: partition, from: Position(from), categories: categories, limit: PageLimit(events: events, bytes: bytes))
    return page.events.map(\.position.rawValue) + (page.isLast ? [0] : [])
  }
  #expect(try await page(1, ["a", "b"], 4) == [1, 2, 3, 4])
  #expect(try await page(3, ["a"], 4) == [3, 5, 6])
  #expect(try await page(4, ["a"], 4) == [4, 5, 7])
  #expect(try await page(4, ["c"], 5) == [4, 8])
  #expect(try await page(10, ["a"], 4) == [10, 11, 12, 0])
  #expect(try await page(10, ["a"], 3) == [10, 11, 12])
  #expect(try await page(12, ["a"], 1) == [12])
  #expect(try await page(13, ["a"], 1) == [0])
  #expect(try await page(1, ["a", "b"], 12, bytes: 1) == [1, 2])
  #expect(try await page(1, ["a"], 12, bytes: 150) == [1, 3, 5])
}

@Sendable private func concurrency(_ store: any EventStore) async throws {
  let streams = (0..<4).map { StreamID(rawValue: "hot-\($0)") }
  try await withThrowingTaskGroup(of: Int.self) { group in
    for worker in 0..<6 {
      group.addTask {
        var appended = 0
        while appended < 25 {
          let stream = streams[(worker + appended) % 4]
          let version = Version(Int64(try await store.events(in: stream, after: .none, limit: 10_000).count))
          let result = try await store.append(
            AppendBatch(expectedVersions: [stream: version], events: [event(stream), event(stream)]))
          if case .appended = result { appended += 1 }
        }
        return 0
      }
    }
    group.addTask {
      // Positions are dense, so no event appears below one that a reader has seen.
      var seen: Int64 = 0
      while seen < 300 {
        for event in try await store.events(after: Position(seen), limit: 1000) {
          seen += 1
          #expect(event.position.rawValue == seen)
        }
      }
      return 0
    }
    try await group.waitForAll()
  }
  for stream in streams {
    let versions = try await store.events(in: stream, after: .none, limit: 10_000).map(\.version.rawValue)
    #expect(versions == Array(1...Int64(versions.count)))
  }
  #expect(try await store.head() == Position(300))
}
