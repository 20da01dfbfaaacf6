internal import EventSourcing
internal import HTTPKit
internal import Hummingbird
internal import JSON
internal import Logging
internal import Machine
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import ServiceKit

/// How many replicas each service that follows events should have, for an autoscaler. It reads the stores only when it is
/// asked, at most once a second.
actor ScaleWatch {
  private typealias Advice = [(service: String, advice: ScaleAdvice)]

  private let reader: ScaleReader
  private let logger: Logger
  private var projector = Scaler()
  private var reactor = Scaler()
  private var last: (at: ContinuousClock.Instant, look: Task<[UInt8]?, Never>)?

  init(_ reader: ScaleReader, logger: Logger) { (self.reader, self.logger) = (reader, logger) }

  /// Adds `/scale`, which needs the same token as `/metrics`.
  nonisolated func add(to router: Router<ServiceContext>, _ access: MetricsAccess) {
    router.get("/scale") { request, _ in
      try access.admit(request)
      guard let answer = await self.answer() else {
        // An autoscaler keeps what runs.
        throw Problem.unavailable("A store does not answer, so the lags are unknown.", retryAfter: 5, isLogged: false)
      }
      return Response.json(answer)
    }
  }

  private func answer() async -> [UInt8]? {
    if let last, Machine.now - last.at < .seconds(1) { return await last.look.value }
    let look = Task { await self.look() }
    last = (Machine.now, look)
    return await look.value
  }

  private func look() async -> [UInt8]? {
    do {
      let loads = (
        projector: try await reader.load(ofReactions: false), reactor: try await reader.load(ofReactions: true)
      )
      let relay = try await reader.relay()
      return Self.text([
        ("projector", projector.advise(loads.projector, at: Machine.now)),
        ("reactor", reactor.advise(loads.reactor, at: Machine.now)), ("relay", relay),
      ])
    } catch {
      logger.warning("cannot tell how many replicas are needed", metadata: ["error": "\(error)"])
      return nil
    }
  }

  private static func text(_ services: Advice) -> [UInt8] {
    JSON.object([
      .init(
        "services",
        .object(
          services.map { service, advice in
            .init(
              service,
              .object([
                .init("replicas", .integer(Int64(advice.replicas))), .init("current", .integer(Int64(advice.current))),
                .init("limit", .integer(Int64(advice.limit))), .init("reason", .string(advice.reason)),
              ]))
          }))
    ]).encoded
  }
}

/// Reads what the services have to do.
struct ScaleReader: Sendable {
  let readStore: ReadStore
  /// Connections to the write store.
  let writeStore: PostgresPool
  let heads: StoreHeads

  /// Returns the load of the projectors, or of the reactors.
  func load(ofReactions isOfReactions: Bool) async throws -> ServiceLoad {
    heads.note()
    let pool = isOfReactions ? writeStore : try readStore.server(for: []).access.byKey
    let entries = try await ProjectionOverview.read(pool, ofReactions: isOfReactions).entries
      .filter { $0.generation.state == .serving }
    var load = ServiceLoad(
      current: try await ProjectionOverview.workers(pool, ofReactions: isOfReactions).count,
      limit: entries.map(\.generation.partitioning.count).max() ?? 1)
    var places: [(name: String, partition: Partition, position: Position, lag: Int64)] = []
    for entry in entries {
      guard let heads = heads.heads(of: entry.generation.partitioning) else {
        throw NotReady("the write store has not answered yet")
      }
      for (partition, assignment) in zip(entry.generation.partitioning.partitions, entry.assignments)
      where assignment.owner != nil && ["live", "catching up"].contains(assignment.mode) {
        let lag = heads[partition.index].rawValue - assignment.position.rawValue
        if lag > 0 { places.append((entry.generation.projection, partition, assignment.position, lag)) }
      }
    }
    let ages = try await PostgresEventStore(writeStore).waiting(places.map { ($0.partition, $0.position) })
    for (place, age) in zip(places, ages) {
      guard let age, age > load.lag?.age ?? .zero else { continue }
      load.lag = ServiceLoad.Lag(of: place.name, age: age, positions: place.lag)
    }
    return load
  }

  /// One relay publishes, and more only stand by.
  func relay() async throws -> ScaleAdvice {
    let (position, isHeld) = try await writeStore.query(
      """
      select coalesce((select position from event_store.cursors where name = 'live'), 0),
        exists (select from event_store.leases where name = 'relay' and expires_at > clock_timestamp())
      """
    ).decode((Int64, Bool).self)[0]
    let behind = max(0, (heads.last?.rawValue ?? position) - position)
    return ScaleAdvice(
      replicas: 1, current: isHeld ? 1 : 0, limit: 1,
      reason: "one relay publishes, others only stand by; the live feed is \(behind) positions behind")
  }
}
