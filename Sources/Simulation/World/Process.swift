internal import CommandProcessing
internal import EventSourcing
internal import HTTPKit
internal import Logging
internal import Machine
internal import PostgresEventStore
internal import Projections
internal import QueryKit
internal import RabbitMQFeed
internal import Reactions
internal import ServiceLifecycle

/// A process of the system, which may be started again after it was killed or stopped.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Process: @unchecked Sendable {
  /// What is inside a process that runs.
  struct Inside: Sendable {
    var processor: CommandProcessor<SimulatedEventStore>?
    var responder: QueryResponder?
    var keys: PersonalKeys?
    var tables: SimulatedProjectionStore?
    var changes: ChangeLog?
  }

  static let tokenKey = ConsistencyToken.Key("the secret of the simulation".utf8)

  private static let shutdownLimit = Duration.seconds(10)

  let name: String
  let role: Role
  private unowned let world: World
  private(set) var host: Host
  private(set) var inside = Inside()
  private var group: ServiceGroup?
  private var task: Task<Void, Never>?

  init(_ name: String, _ role: Role, _ world: World) {
    (self.name, self.role, self.world) = (name, role, world)
    host = world.newHost(name)
  }

  var isRunning: Bool { task != nil }

  /// Starts the process, unless it runs.
  func start() {
    guard task == nil, !world.record.isOver else { return }
    host = world.newHost(name)
    Machine.$simulated.withValue(host) { task = run() }
  }

  /// Nothing that it does has an effect any more.
  func kill() {
    host.kill()
    task?.cancel()
    (group, task, inside) = (nil, nil, Inside())
  }

  /// It gets no more requests, ends what it has begun, and is cancelled if that takes long.
  func stop() {
    guard let group, let task else { return }
    Machine.$simulated.withValue(host) { _ = Task { await group.triggerGracefulShutdown() } }
    Scheduler.shared.call(at: Scheduler.shared.time + Self.shutdownLimit) { task.cancel() }
    (self.group, self.task, inside) = (nil, nil, Inside())
  }

  private func run() -> Task<Void, Never> {
    let group = ServiceGroup(configuration: .init(services: services(), logger: .silent))
    self.group = group
    return Task { [host, world, name] in
      do { try await group.run() } catch {
        if !host.isDead, !Task.isCancelled { world.record.violate("\(name) ended: \(error)") }
      }
    }
  }

  /// Those that stop first come last.
  private func services() -> [any Service] {
    let logger = Logger.silent
    // Query processes read from whatever server there is.
    let witness = role == .query ? nil : ServerWitness(logger: logger)
    let link = world.link(host, world.writeStore, witness)
    let store = SimulatedEventStore(link, world.writeStore)
    witness?.watch { try await store.look() }
    return services(link, store, logger) + (witness.map { [$0] } ?? [])
  }

  private func services(_ link: Link, _ store: SimulatedEventStore, _ logger: Logger) -> [any Service] {
    switch role {
    case .command:
      let processor = CommandProcessor(store, logger: logger)
      inside = Inside(processor: processor, keys: keys(link))
      return [processor]
    case .relay:
      var settings = Relay.Settings()
      settings.partitioning = world.build.partitioning
      let relay = Relay(
        store, SimulatedPublisher(world.link(host, world.broker), world.broker),
        follower(store, [settings.partitioning]), leases: SimulatedLeases(link, world.writeStore), settings: settings,
        logger: logger
      ) { _, _, _ in }
      return [relay]
    case .projector:
      let tables = SimulatedProjectionStore(world.link(host, world.readStore), world.readStore, hasEvents: false)
      let models = [
        Projection(world.balances(keys(link))), Projection(Statement(version: world.build.statementVersion)),
      ]
      let feed: any EventFeed =
        world.plan.usesBroker
        ? SimulatedFeed(world.link(host, world.broker), world.broker)
        : PostgresFeed { [self] in follower(store, $0) }
      let projector = projector(models, tables, store, world.build.partitioning, feed)
      return [projector]
    case .reactor:
      let processor = CommandProcessor(store, logger: logger)
      let tables = SimulatedProjectionStore(link, world.writeStore, hasEvents: true)
      let announce = Announce(outside: world.outside).definition
      let effect = announce.effect!
      let caller = EffectRunner(
        announce.name, effect,
        SimulatedAttempts(link: link, database: world.writeStore, limits: effect.limits), store, logger: logger
      ) { _, _ in nil }
      let deliver = Reactor(world.deliver.definition, processor).projection
      let collect = Reactor(world.collect.definition, processor).projection
      let reactions = [
        ([deliver, announce.projection(of: effect, by: caller)], Partitioning.standard), ([collect], .single),
      ]
      let projectors = reactions.map { projections, partitioning in
        projector(projections, tables, store, partitioning, PostgresFeed { [self] in follower(store, $0) })
      }
      let deadlines = Deadlines(
        world.deliver.definition.schedules, SimulatedDeadlines(link, world.writeStore),
        leases: SimulatedLeases(link, world.writeStore), processor, .init(), logger: logger)
      return [processor, deadlines, caller] + projectors
    case .query:
      let tables = SimulatedProjectionStore(world.link(host, world.readStore), world.readStore, hasEvents: false)
      let activity = Activity(busy: world.plan.interval)
      let heads = StoreHeads(store, activity: Activity(), logger: logger)
      let progress = ReadProgress(host: name, heads: heads, activity: activity, logger: logger) {
        try await tables.progress(in: $0)
      }
      let servers = ReadStore([.init(access: ReadAccess(NoTables()), progress: progress)])
      let responder = QueryResponder(
        servers, store, heads: heads, tokenKey: Self.tokenKey, cacheBytes: 1_000_000)
      let changes = ChangeLog(
        newest: store, older: store, servers, reads: [Reads("balances"), Reads("statement")], heads: heads,
        activity: activity, logger: logger)
      inside = Inside(responder: responder, tables: tables, changes: changes)
      return [heads, progress, changes]
    }
  }

  private func projector(
    _ projections: [Projection], _ tables: SimulatedProjectionStore, _ store: SimulatedEventStore,
    _ partitioning: Partitioning, _ feed: any EventFeed
  ) -> Projector {
    var settings = Projector.Settings()
    (settings.partitioning, settings.name) = (partitioning, name)
    return Projector(projections, store: tables, events: store, feed: feed, settings: settings, logger: .silent)
  }

  private func keys(_ link: Link) -> PersonalKeys { PersonalKeys(SimulatedPersonalKeys(link, world.writeStore)) }

  private func follower(_ store: SimulatedEventStore, _ partitionings: [Partitioning]) -> StoreFollower {
    StoreFollower(store, partitionings, StoreFollower.Settings(), logger: .silent) { await store.listen($0) }
  }
}

/// Queries read the simulated tables over a link, and not these.
private struct NoTables: TablesInMemory {
  func tables(of model: String) throws -> any ModelInMemory {
    throw ProjectionsError("a simulated query names its rows itself")
  }
}

extension World {
  func balances(_ keys: PersonalKeys) -> Balances {
    Balances(version: build.balancesVersion, keys: keys) { [self] in poisoned.contains($0) }
  }
  var deliver: Deliver { Deliver(version: build.deliverVersion) { [self] in poisoned.contains($0) } }
  var collect: Collect { Collect { [self] in poisoned.contains($0) } }
}

extension Logger {
  /// The oracle says what is wrong; a trace says what happened.
  static var silent: Logger { Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() } }
}
