internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Projections

/// What the tables of projections hold, with the semantics of the functions in `projections` and of the statements of
/// `PostgresProjectionStore`.
struct ProjectionTables: Sendable {
  struct GenerationKey: Hashable, Sendable {
    let projection: String
    let number: Int

    init(_ projection: String, _ number: Int) { (self.projection, self.number) = (projection, number) }
    init(_ generation: Generation) { self.init(generation.projection, generation.number) }
  }

  struct StoredGeneration: Sendable {
    var version: Int
    let partitioning: Partitioning
    var state: Generation.State
    let from: Position
    var categories: [String]
    let tables: [String]
  }

  struct StoredCheckpoint: Sendable {
    var owner: UUID?
    var mode = "catching up"
    var historyID: UUID
    var position: Position
    var eventID: UUID?
    var error: String?
    var applied: Int64 = 0
    var ids: Int64 = 0
  }

  struct StoredParked: Sendable {
    let partition: Int
    var version: Version
    var position: Position
    var eventID: UUID
    var error: String
    var attempts: Int
    var request: ParkedPlace.Request?
    var retryAt: Timestamp?
  }

  struct Worker: Sendable {
    var services: [String]
    var expiresAt: Timestamp
  }

  struct LedgerKey: Hashable, Sendable {
    let generation: GenerationKey
    let block: Ledger.Key
  }

  var generations: [GenerationKey: StoredGeneration] = [:]
  var numbers: [String: Int] = [:]
  var workers: [UUID: Worker] = [:]
  /// By partition.
  var checkpoints: [GenerationKey: [StoredCheckpoint]] = [:]
  var parked: [GenerationKey: [StreamID: StoredParked]] = [:]
  /// Positions, by process.
  var waiting: [GenerationKey: [StreamID: [Position: UUID]]] = [:]
  var discarded: [GenerationKey: Set<Position>] = [:]
  var ledger: [LedgerKey: Ledger.Entry] = [:]
  var rows = MemoryTables()

  // MARK: Workers
  mutating func renew(_ worker: UUID, _ services: [String], until time: Timestamp) {
    workers[worker] = Worker(services: services, expiresAt: time)
  }

  mutating func leave(_ worker: UUID) { workers[worker] = nil }

  func isAlive(_ worker: UUID?, at now: Timestamp) -> Bool {
    worker.flatMap { workers[$0] }.map { $0.expiresAt > now } ?? false
  }

  func workers(of service: String, at now: Timestamp) -> [UUID] {
    workers.filter { $0.value.expiresAt > now && $0.value.services.contains(service) }.keys
      .sorted { $0.uuidString < $1.uuidString }
  }

  /// What living workers run.
  func services(at now: Timestamp) -> Set<String> {
    workers.values.filter { $0.expiresAt > now }.reduce(into: []) { $0.formUnion($1.services) }
  }

  func unowned(at now: Timestamp) -> [String: Int] {
    generations.reduce(into: [:]) { found, generation in
      guard [.serving, .building].contains(generation.value.state) else { return }
      let count = checkpoints[generation.key, default: []].count { !isAlive($0.owner, at: now) }
      if count > 0 { found[generation.key.projection, default: 0] += count }
    }
  }

  // MARK: Generations
  func all(of projections: [String]) -> [Generation] {
    generations.filter { projections.contains($0.key.projection) }
      .sorted { ($0.key.projection, $0.key.number) < ($1.key.projection, $1.key.number) }
      .map { key, stored in
        Generation(
          projection: key.projection, number: key.number, version: stored.version, partitioning: stored.partitioning,
          state: stored.state, from: stored.from, until: nil, activates: true)
      }
  }

  /// The generation that queries read.
  func serving(_ projection: String) -> GenerationKey? {
    generations.first { $0.key.projection == projection && $0.value.state == .serving }?.key
  }

  mutating func add(
    _ projection: Projection, _ partitioning: Partitioning, historyID: UUID, state: Generation.State,
    start: [PartitionHead]?
  ) -> Int? {
    let exists = generations.contains { key, stored in
      key.projection == projection.name && (state == .serving || (state == .building && stored.state == .building))
    }
    guard !exists else { return nil }
    let number = (numbers[projection.name] ?? 0) + 1
    numbers[projection.name] = number
    let key = GenerationKey(projection.name, number)
    generations[key] = StoredGeneration(
      version: projection.version, partitioning: partitioning, state: state,
      from: start?.map(\.position).max() ?? .start, categories: projection.categories.sorted(),
      tables: projection.tables)
    checkpoints[key] = partitioning.partitions.map { partition in
      let head = start?[partition.index]
      return StoredCheckpoint(historyID: historyID, position: head?.position ?? .start, eventID: head?.eventID)
    }
    return number
  }

  func hasWorkers(_ service: String, at now: Timestamp) -> Bool { !workers(of: service, at: now).isEmpty }

  func isParkedForGood(_ generation: Generation, by projection: Projection) -> Bool {
    let key = GenerationKey(generation)
    guard let before = generations[key], !Set(before.categories).isSubset(of: projection.categories) else {
      return false
    }
    return parked[key, default: [:]].keys.contains {
      projection.isCorrelated || !projection.categories.contains(String($0.category))
    }
  }

  mutating func takeOver(_ generation: Generation, by projection: Projection) {
    let key = GenerationKey(generation)
    guard generations[key]?.version == generation.version else { return }
    for index in checkpoints[key, default: []].indices {
      checkpoints[key]![index].owner = nil
      checkpoints[key]![index].mode = "catching up"
    }
    generations[key]!.version = projection.version
    generations[key]!.categories = projection.categories.sorted()
  }

  /// Why a generation may not serve, apart from how far it has come.
  func obstacle(_ key: GenerationKey, at now: Timestamp) -> String? {
    guard let generation = generations[key], [.building, .kept].contains(generation.state) else {
      return "it serves already, or is not there"
    }
    let waiting = checkpoints[key, default: []].count { $0.mode != "live" || !isAlive($0.owner, at: now) }
    if waiting > 0 { return "\(waiting) of its partitions have not caught up, stand still, or have no projector" }
    let serving = serving(key.projection).flatMap { parked[$0] } ?? [:]
    if parked[key, default: [:]].keys.contains(where: { serving[$0] == nil }) {
      return "streams are parked in it that are not in the one that serves"
    }
    return nil
  }

  /// The positions of the generation that serves, by partition.
  func served(_ projection: String) -> [Position] {
    serving(projection).flatMap { checkpoints[$0] }?.map(\.position) ?? []
  }

  func hasPassed(_ key: GenerationKey, _ served: [Position], _ heads: [Position]) -> Bool {
    guard let other = serving(key.projection), let old = checkpoints[other], let new = checkpoints[key] else {
      return true
    }
    for (o, before) in old.enumerated() {
      for (n, own) in new.enumerated() where own.historyID == before.historyID {
        let shares =
          new.count > old.count ? n * old.count / new.count == o : n == o * new.count / old.count
        guard shares, own.position < served[o] else { continue }
        if !(own.position >= heads[n] && served[o] <= heads.max() ?? .start) { return false }
      }
    }
    return true
  }

  func look(_ generation: Generation, _ heads: [Position], at now: Timestamp) -> String? {
    let key = GenerationKey(generation)
    return obstacle(key, at: now)
      ?? (hasPassed(key, served(key.projection), heads) ? nil : "it has not come as far as the one that serves")
  }

  mutating func activate(_ generation: Generation, _ heads: [Position], at now: Timestamp) -> String? {
    if let reason = look(generation, heads, at: now) { return reason }
    if let serving = serving(generation.projection) { generations[serving]!.state = .kept }
    generations[GenerationKey(generation)]!.state = .serving
    return nil
  }

  /// - Returns: false if it serves or does not exist.
  mutating func drop(_ key: GenerationKey) -> Bool {
    guard let generation = generations[key], generation.state != .serving else { return false }
    for table in generation.tables { rows.drop("\(table)_g\(key.number)") }
    (generations[key], checkpoints[key], parked[key], waiting[key], discarded[key]) = (nil, nil, nil, nil, nil)
    ledger = ledger.filter { $0.key.generation != key }
    return true
  }
}
