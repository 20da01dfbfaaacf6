import Commerce
import CommerceReadModels
import Logging
import Postgres
import Projections
import ServiceKit
import ServiceLifecycle
import Synchronization

/// The newest orders of a customer.
struct FirstPage: Hashable, Sendable {
  let customerID: String
  let limit: Int
}

/// The queries on one server of the read store.
struct ReadModels: Sendable {
  /// They share the connections of one pool.
  struct Queries: Sendable {
    let orders: OrderQueries
    let customers: CustomerQueries
    let catalogue: CatalogueQueries
    let returns: ReturnQueries
    let sales: SalesQueries

    init(_ pool: PostgresPool) {
      orders = OrderQueries(pool)
      customers = CustomerQueries(pool)
      catalogue = CatalogueQueries(pool)
      returns = ReturnQueries(pool)
      sales = SalesQueries(pool)
    }
  }

  let byKey: Queries
  let lists: Queries
  let order: Coalescer<String, ReadRow>
  let newest: Coalescer<FirstPage, (joined: [UInt8], next: OrderQueries.Cursor?)>
  let others = SingleFlight()

  /// - Parameters:
  ///   - byKey: for what is one row, or few by an index.
  ///   - lists: for searches and sums, which take much longer: a pool of their own, so that no read by key stands behind
  ///     them, and a small one, since few at once end sooner, and more evenly, than many side by side (docs/performance.md).
  ///     Prepared by `CatalogueQueries.prepare`.
  init(byKey: PostgresPool, lists: PostgresPool) {
    let queries = Queries(byKey)
    self.byKey = queries
    self.lists = Queries(lists)
    order = Coalescer { try await queries.orders.orders($0) }
    newest = Coalescer(limit: 32) { pages in
      let found = try await queries.orders.newest(of: pages.map { ($0.customerID, $0.limit) })
      return Dictionary(uniqueKeysWithValues: zip(pages, found))
    }
  }
}

extension Reads {
  static let orders = Reads("orders")
  static let customers = Reads("customers")
  static let catalogue = Reads("catalogue")
  static let sales = Reads("sales")
}

/// The read store: one server, or a primary and its standbys, each with its pools and a view of how far it has come.
struct ReadStore: Sendable {
  struct Server: Sendable {
    /// That of the reads by key.
    let pool: PostgresPool
    let progress: ReadProgress
    let models: ReadModels
  }

  let servers: [Server]
  private let turn = Turn()

  private final class Turn: Sendable {
    private let next = Atomic(0)
    func take(of count: Int) -> Int { next.wrappingAdd(1, ordering: .relaxed).oldValue % count }
  }

  /// - Precondition: there is one at least.
  init(_ servers: [Server]) {
    precondition(!servers.isEmpty, "a read store has a server")
    self.servers = servers
  }

  /// The server to ask: one that has come as far as is needed, the one that is ahead where none has; in turn.
  func server(for targets: [ReadProgress.Target]) -> Server {
    guard servers.count > 1 else { return servers[0] }
    let alive = servers.filter(\.progress.isAlive)
    guard !alive.isEmpty else { return servers[turn.take(of: servers.count)] }
    guard !targets.isEmpty else { return alive[turn.take(of: alive.count)] }
    let ready = alive.filter { $0.progress.hasReached(targets) }
    if !ready.isEmpty { return ready[turn.take(of: ready.count)] }
    return alive.max { $0.progress.advance(toward: targets) < $1.progress.advance(toward: targets) } ?? alive[0]
  }
}
