internal import EventLoop
package import EventSourcing
internal import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
internal import PostgresEventStore
internal import ServiceLifecycle
internal import Synchronization

/// Keeps read models up to date: feeds every projection from the live feed, and from the write store if the feed has
/// a gap.
///
/// Any number of projectors share the partition assignments. Each runs the generations of its own versions.
package struct Projector: Service {
  /// How a projector works. Each property has the default of its setting.
  package struct Settings: Sendable {
    /// The partitions of the projections that it creates or runs.
    package var partitioning = Partitioning.standard
    /// The number of events in one transaction of one lane, at most.
    package var batchSize = 2_000
    /// The number of transactions of one projection that may run at once.
    package var lanes = 2
    /// How often each assignment is compared with its partition's head, and the assignments are shared again.
    package var headInterval = Duration.seconds(1)
    /// How long a partition that stopped waits until it is tried again.
    package var haltRetry = Duration.seconds(30)
    /// How many streams of one assignment may be parked within a minute. At the next one the assignment halts
    /// instead.
    package var parkLimit = 20
    /// About how many bytes of events all lanes hold together. The last event of each lane may exceed its share.
    package var memory = 32 * 1024 * 1024
    /// How long the assignments of a projector that died wait for a new owner, at most.
    package var leaseDuration = Duration.seconds(5)
    /// The name of this process in the status.
    package var name = "projector"

    /// Creates settings with the defaults.
    package init() {}
  }

  private let projections: [Projection]
  private let store: any ProjectionStore
  private let events: any EventStore
  let feed: any EventFeed
  let settings: Settings
  let logger: Logger
  private let worker: Worker
  private let budget: MemoryBudget
  let workerGroup: WorkerGroup
  let rounds: SharedRounds
  private let headReader: HeadReader
  let isConnected = Flag()
  let dropped = Counter(label: "projector_deliveries_dropped_total")

  /// Creates a projector. It works while `run()` does.
  /// - Parameters:
  ///   - projections: what it runs.
  ///   - readStore: a pool with at least one connection per projection and lane, and one more.
  ///   - writeStore: a pool for the events that the feed does not bring.
  ///   - feed: brings new events.
  ///   - settings: how it works.
  ///   - logger: gets what an operator should know.
  package init(
    _ projections: [Projection], readStore: PostgresPool, writeStore: PostgresPool, feed: any EventFeed,
    settings: Settings = Settings(), logger: Logger
  ) {
    self.init(
      projections, store: PostgresProjectionStore(readStore), events: PostgresEventStore(writeStore), feed: feed,
      settings: settings, logger: logger)
  }

  /// - Parameters:
  ///   - store: keeps what the projections make.
  ///   - events: has the events that the feed does not bring.
  package init(
    _ projections: [Projection], store: any ProjectionStore, events: any EventStore, feed: any EventFeed,
    settings: Settings = Settings(), logger: Logger
  ) {
    self.projections = projections
    self.store = store
    self.events = events
    self.feed = feed
    self.settings = settings
    self.logger = logger
    budget = MemoryBudget(bytes: settings.memory)
    workerGroup = WorkerGroup(budget)
    headReader = HeadReader(events, settings.partitioning)
    worker = Worker(name: settings.name, leaseDuration: settings.leaseDuration, store: store)
    rounds = SharedRounds(store, worker: worker.id)
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await self.receive() }
        group.addTask { await self.stayAlive() }
        group.addTask { await self.supervise() }
      }
    }
    await worker.leave()
  }

  private func stayAlive() async {
    var alarm = UnownedAlarm(patience: settings.leaseDuration * 2, logger: logger)
    while !Task.isCancelled {
      do {
        try await worker.renew(running: workerGroup.services)
        alarm.look(at: try await store.unowned())
      } catch {
        guard !Task.isCancelled else { break }
        logger.error("cannot renew this worker's row; trying again", metadata: ["error": "\(error)"])
        try? await Machine.sleep(for: min(.milliseconds(200), settings.leaseDuration / 3))
        continue
      }
      try? await Machine.sleep(for: settings.leaseDuration / 3)
    }
  }

  /// Keeps a runner for each lane of each generation that this build runs.
  private func supervise() async {
    await withDiscardingTaskGroup { group in
      var running: [Generation.Identity: [ProjectionRunner]] = [:]
      var reminders = Reminders()
      var backoff = Backoff(first: .milliseconds(100))
      while !Task.isCancelled {
        do {
          let generations = try await generations(&reminders)
          var isNew = false
          for (identity, runners) in running where !generations.contains(where: { $0.identity == identity }) {
            running[identity] = nil
            workerGroup.remove(identity)
            for runner in runners { await runner.retire() }
          }
          for generation in generations where running[generation.identity] == nil {
            let projection = projections.first { $0.name == generation.projection }!
            let runners = (0..<min(settings.lanes, generation.partitioning.count)).map {
              runner(projection, generation, $0)
            }
            running[generation.identity] = runners
            workerGroup.add(generation.identity, generation.service, runners)
            for runner in runners { group.addTask { await runner.run() } }
            isNew = true
          }
          // The worker then counts at once, not only after the next renewal.
          if isNew { try await worker.renew(running: workerGroup.services) }
          backoff.reset()
          try? await Machine.sleep(for: min(settings.headInterval, .seconds(1)))
        } catch {
          guard !Task.isCancelled else { break }
          logger.error("cannot read the generations; trying again", metadata: ["error": "\(error)"])
          try? await Machine.sleep(for: backoff.next())
        }
      }
      group.cancelAll()
    }
  }

  private func runner(_ projection: Projection, _ generation: Generation, _ lane: Int) -> ProjectionRunner {
    ProjectionRunner(
      projection,
      Lane(
        generation: generation, worker: worker.id, number: lane,
        count: min(settings.lanes, generation.partitioning.count)),
      store: store, rounds: rounds, events: events, headReader: headReader,
      budget: budget,
      settings: ProjectionRunner.Settings(
        batchSize: settings.batchSize, headInterval: settings.headInterval, haltRetry: settings.haltRetry,
        parkLimit: settings.parkLimit, patience: settings.leaseDuration * 2),
      logger: logger)
  }

  /// Returns the generations that this build runs. An error in one projection stops no other.
  private func generations(_ reminders: inout Reminders) async throws -> [Generation] {
    let all = try await store.generations(of: projections.map(\.name))
    var mine: [Generation] = []
    for projection in projections {
      let its = all.filter { $0.projection == projection.name }
      mine += its.filter { isOwn($0, projection) }
      do {
        try await advance(projection, its, &reminders)
      } catch {
        guard !Task.isCancelled else { break }
        if reminders.isDue("\(projection.name) fails") {
          logger.error(
            "cannot create or activate a generation of this projection; trying again",
            metadata: ["projection": "\(projection.name)", "error": "\(error)"])
        }
      }
    }
    return mine
  }

  private func isOwn(_ generation: Generation, _ projection: Projection) -> Bool {
    generation.version == projection.version && generation.partitioning == settings.partitioning
      // Another generation of a reaction would react again.
      && (!projection.isReaction || generation.state == .serving)
  }

  /// Lets another version of a reaction continue from the checkpoints of the one before, so that it does not react again.
  /// An older version takes over from a newer one only once no process runs that any more.
  private func takeOver(
    _ other: Generation, _ projection: Projection, _ reminders: inout Reminders
  ) async throws {
    let place: Logger.Metadata = ["projection": "\(projection.name)", "version": "\(projection.version)"]
    guard other.partitioning == settings.partitioning else {
      if reminders.isDue("\(projection.name) is ordered otherwise") {
        logger.critical(
          "this reaction was ordered by stream before and is ordered by key now, or the reverse; give it another name",
          metadata: place)
      }
      return
    }
    if other.version > projection.version {
      let isLeft = try await !store.hasWorkers(other)
      guard reminders.lasts("\(projection.name) is left", isLeft, longerThan: settings.leaseDuration * 2) else {
        if reminders.isDue("\(projection.name) is newer") {
          logger.error("a newer version of this reaction runs; this process does not run it", metadata: place)
        }
        return
      }
    }
    guard try await !store.isParkedForGood(other, by: projection) else {
      if reminders.isDue("\(projection.name) is parked") {
        logger.critical(
          "streams are parked whose category this version does not take: retry or discard them with the version before",
          metadata: place)
      }
      return
    }
    try await store.takeOver(other, by: projection)
    logger.notice("a reaction continues in another version", metadata: place)
  }

  /// Creates a projection's first generation, or the next one if its version or the number of partitions is new. Lets
  /// a generation serve if it has caught up, or if it is the only one that is still updated.
  private func advance(
    _ projection: Projection, _ its: [Generation], _ reminders: inout Reminders
  ) async throws {
    let name: Logger.MetadataValue = "\(projection.name)"
    let own = its.filter { isOwn($0, projection) && $0.state != .past }
    if own.isEmpty {
      if projection.isReaction, let other = its.first(where: { $0.state == .serving }) {
        return try await takeOver(other, projection, &reminders)
      }
      if its.contains(where: { $0.version > projection.version }) {
        if reminders.isDue("\(projection.name) is newer") {
          logger.error(
            "a newer version of this projection runs; this process does not run it",
            metadata: ["projection": name, "version": "\(projection.version)"])
        }
        return
      }
      let start = projection.startsAtHead ? try await events.heads(of: settings.partitioning) : nil
      let number = try await store.add(
        projection, settings.partitioning, historyID: try await events.historyID(),
        state: its.isEmpty ? .serving : .building, start: start)
      if let number {
        logger.notice("created a generation", metadata: ["projection": name, "generation": "\(number)"])
      } else if let other = its.first(where: { $0.state == .building }), reminders.isDue("\(projection.name) waits") {
        logger.critical(
          "another generation is being built; this version waits until that one serves or is discarded",
          metadata: [
            "projection": name, "version": "\(projection.version)", "builds": "generation \(other.number)",
            "command": "rebuild \(projection.name) --discard \(other.number)",
          ])
      }
      return
    }
    var ready = own.first { $0.state == .building && $0.activates }
    // The generation that serves has another version, and no projector updates it. A generation of this version that
    // served before is better.
    if ready == nil, !own.contains(where: { $0.state == .serving }),
      let serving = its.first(where: { $0.state == .serving })
    {
      let isLeft = try await !store.hasWorkers(serving)
      if reminders.lasts("\(projection.name) is left", isLeft, longerThan: settings.leaseDuration * 2) {
        ready = own.last { $0.state == .kept }
      }
    }
    guard let ready else { return }
    let place: Logger.Metadata = ["projection": name, "generation": "\(ready.number)"]
    if let reason = try await store.activate(ready, of: events) {
      if reminders.isDue("\(projection.name) is not ready") {
        logger.info("a generation is not serving yet", metadata: place.merging(["reason": "\(reason)"]) { $1 })
      }
    } else {
      logger.notice("a generation has caught up and is now serving", metadata: place)
    }
  }
}
