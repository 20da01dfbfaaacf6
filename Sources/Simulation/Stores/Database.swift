internal import EventSourcing
internal import FoundationEssentials
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import Reactions

/// A database of the simulation: a write store with its events, leases and the checkpoints of reactions; or a read store.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Database: Server, @unchecked Sendable {
  /// What the disk holds.
  struct Contents: Sendable {
    var events: EventTable
    var projections = ProjectionTables()
    var attempts = Attempts()
    var leases: [String: (holder: UUID, expiresAt: Timestamp)] = [:]
    /// The keys of persons; nil for one that was erased.
    var personalKeys: [String: [UInt8]?] = [:]

    /// As the trigger `personal_data_is_erased`.
    mutating func eraseKeys(for appended: [NewEvent]) {
      for event in appended where event.type == "PersonalDataErased" {
        personalKeys.updateValue(nil, forKey: String(event.stream.id))
      }
    }
  }

  var contents: Contents
  /// Whether it runs on another server or timeline than was declared: only what recognises it uses it.
  private(set) var isForeign = false
  /// Whether it was restored, and nobody has declared that yet: its rows and positions may be of lost events.
  private(set) var isUndeclared = false
  /// Whether a process has missed an event.
  private(set) var hasLostEvents = false
  private var chance: SeededChance
  private var listeners: [Int: @Sendable (Position?) -> Void] = [:]
  private var listenersAdded = 0
  /// The contents that a crash goes back to, if commits since then did not wait for the disk.
  private var onDisk: Contents?

  init(_ name: String, seed: UInt64) {
    chance = SeededChance(seed: seed, for: "database \(name)")
    contents = Contents(events: EventTable(historyID: Self.uuid(&chance)))
    super.init(name)
  }

  private static func uuid(_ chance: inout SeededChance) -> UUID {
    UUID(uuid: unsafeBitCast((chance.next(), chance.next()), to: uuid_t.self))
  }

  /// The server's time.
  var now: Timestamp {
    Timestamp(
      microsecondsSince1970: Int64((Host.epoch + Scheduler.shared.time / .seconds(1)).timeIntervalSince1970 * 1_000_000)
    )
  }

  // MARK: What happens to it
  /// Goes back to earlier contents, as a restore from a backup does.
  func restore(_ backup: Contents) {
    contents = backup
    (isForeign, isUndeclared) = (true, true)
    dropConnections()
  }

  /// A standby takes over that has lost nothing, unless another change has not been declared or recognised yet.
  /// - Returns: whether it has.
  func failOver() -> Bool {
    guard !isForeign else { return false }
    isForeign = true
    dropConnections()
    return true
  }

  /// An operator changes tables of projections, in a transaction that waits for the disk.
  func change(_ body: (inout ProjectionTables) -> Void) {
    body(&contents.projections)
    sync()
  }

  /// An operator declares that it may be used as it is.
  func declare(losingNothing: Bool) {
    (isForeign, isUndeclared, hasLostEvents) = (false, false, false)
    guard !losingNothing else { return }
    contents.events.historyID = Self.uuid(&chance)
    contents.projections.adopt(contents.events.historyID, contents.events)
  }

  /// From now on, commits wait in memory for the disk.
  func holdBack() { onDisk = contents }

  /// Crashes, and loses what waited for the disk.
  func crash() {
    if let onDisk { contents = onDisk }
    onDisk = nil
    dropConnections()
  }

  /// Everything is on the disk now.
  func sync() { if onDisk != nil { onDisk = contents } }

  /// As `event_store.recognise_server`.
  override func admit(_ evidence: ServerWitness.Evidence?) throws {
    guard let evidence else { return }
    let isSame = evidence.head?.historyID == contents.events.historyID
    if isSame, let head = evidence.head, head.position > .start,
      contents.events.event(at: head.position)?.id != head.eventID
    {
      hasLostEvents = true
    }
    if !hasLostEvents, isSame, evidence.isRecent { isForeign = false }
    if hasLostEvents || isForeign {
      throw EventStoreError.historyChanged("the store is on another server or timeline than before")
    }
  }

  /// A process has missed an event.
  func missEvent() { hasLostEvents = true }

  // MARK: Notifications
  /// Returns the name of a listener that is to be added.
  func nextListener() -> Int {
    listenersAdded += 1
    return listenersAdded
  }

  func listen(_ id: Int, _ told: @escaping @Sendable (Position?) -> Void) { listeners[id] = told }

  /// Listeners go with their connections.
  override func dropConnections() {
    super.dropConnections()
    listeners = [:]
  }

  func endListening(_ id: Int) { listeners[id] = nil }

  func tell(_ position: Position) { for id in listeners.keys.sorted() { listeners[id]?(position) } }
}

/// The leases of one process, over a link.
struct SimulatedLeases: LeaseTable {
  private let link: Link
  private let database: Database

  init(_ link: Link, _ database: Database) { (self.link, self.database) = (link, database) }

  func take(_ name: String, for holder: UUID, _ duration: Duration) async throws -> Bool {
    try await link.ask(isWrite: true) { [database] in
      let now = database.now
      if let held = database.contents.leases[name], held.holder != holder, held.expiresAt >= now { return false }
      database.contents.leases[name] = (holder, now.advanced(by: duration))
      return true
    }
  }

  func give(_ name: String, of holder: UUID) async throws {
    try await link.ask(isWrite: true) { [database] in
      if database.contents.leases[name]?.holder == holder { database.contents.leases[name] = nil }
    }
  }
}

/// The scheduled commands of one process, over a link.
struct SimulatedDeadlines: DeadlineQueue {
  private let link: Link
  private let database: Database

  init(_ link: Link, _ database: Database) { (self.link, self.database) = (link, database) }

  private func ask<Answer: Sendable>(
    isWrite: Bool = false, _ request: @escaping @Sendable (inout EventTable, Timestamp) -> Answer
  ) async throws -> Answer {
    try await link.ask(isWrite: isWrite) { [database] in
      return request(&database.contents.events, database.now)
    }
  }

  func counts() async throws -> DeadlineCounts {
    try await ask { events, now in
      let waiting = events.deadlines.values.filter { !$0.hasFailed }
      let late = waiting.map(\.dueAt).min().map { now.microsecondsSince1970 - $0.microsecondsSince1970 } ?? 0
      return DeadlineCounts(
        outstanding: waiting.count, stuck: events.deadlines.count - waiting.count,
        overdue: max(0, Double(late) / 1_000_000))
    }
  }

  func due(_ names: [String], atMost limit: Int) async throws -> [DueDeadline] {
    try await ask { events, now in
      let historyID = events.historyID
      return events.due(names, atMost: limit, at: now).map {
        DueDeadline(id: $0.id, command: $0.command, data: $0.data, metadata: $0.metadata, historyID: historyID)
      }
    }
  }

  func remove(_ id: UUID) async throws {
    try await ask(isWrite: true) { events, _ in events.removeDeadline(id) }
  }

  func postpone(_ id: UUID, because error: any Error) async throws {
    try await ask(isWrite: true) { $0.postponeDeadline(id, until: $1.advanced(by: .seconds(30))) }
  }

  func fail(_ id: UUID, because error: any Error) async throws {
    try await ask(isWrite: true) { events, _ in events.failDeadline(id) }
  }
}
