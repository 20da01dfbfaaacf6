package import EventSourcing
internal import HTTPKit
public import Postgres
public import Projections
internal import Synchronization

/// The connections of queries to one server of the read store.
public struct ReadAccess: Sendable {
  private enum Tables: Sendable {
    case pools(byKey: PostgresPool, lists: PostgresPool)
    case memory(any TablesInMemory)
  }

  private let tables: Tables
  let flights = SingleFlight()
  private let coalescers = Coalescers()

  private final class Coalescers: Sendable {
    let all = Mutex<[String: any Sendable]>([:])
  }

  package init(byKey: PostgresPool, lists: PostgresPool) { tables = .pools(byKey: byKey, lists: lists) }
  package init(_ memory: any TablesInMemory) { tables = .memory(memory) }

  /// For queries that read one row, or a few rows by an index.
  /// - Throws: a `Problem` (501) if the application runs in memory.
  public var byKey: PostgresPool {
    get throws {
      guard case .pools(let byKey, _) = tables else { throw Problem.needsPostgreSQL("SQL") }
      return byKey
    }
  }

  /// For searches and sums, which take much longer. Their pool is separate, so that no read by key queues behind them.
  /// It is small: a few at once finish sooner, and more evenly, than many in parallel (docs/performance.md).
  /// - Throws: a `Problem` (501) if the application runs in memory.
  public var lists: PostgresPool {
    get throws {
      guard case .pools(_, let lists) = tables else { throw Problem.needsPostgreSQL("SQL") }
      return lists
    }
  }

  /// The tables of an application that runs in memory; nil with PostgreSQL.
  var memory: (any TablesInMemory)? { if case .memory(let tables) = tables { tables } else { nil } }

  /// Returns the row of a key, or nil if there is none. Reads that arrive together share a query.
  /// - Parameters:
  ///   - model: a read model's name.
  ///   - key: the key of the row.
  public func row(_ model: String, _ key: String) async throws -> ReadRow? {
    if let memory { return try memory.row(model, key) }
    let access = self
    return try await coalescer(model) { Coalescer<ExactText, ReadRow> { try await access.rows(model, $0) } }
      .value(ExactText(key))
  }

  /// Returns the rows of those keys that exist.
  package func rows(_ model: String, _ keys: [ExactText]) async throws -> [ExactText: ReadRow] {
    let rows = try await byKey.query(
      "select key, document, version from read_models.\(unescaped: model) where key = any(\(array: keys.map(\.text)))"
    ).decode((String, PostgresBytes, Int64).self)
    return Dictionary(
      uniqueKeysWithValues: rows.map { (ExactText($0.0), ReadRow(document: $0.1.bytes, version: $0.2)) })
  }

  /// Returns the coalescer of this name, which combines reads that arrive together into one query.
  /// - Parameters:
  ///   - name: the same name always has the same types.
  ///   - make: called if there is no coalescer of this name yet.
  public func coalescer<Key, Value>(_ name: String, _ make: () -> Coalescer<Key, Value>) -> Coalescer<Key, Value> {
    coalescers.all.withLock { all in
      if let known = all[name] as? Coalescer<Key, Value> { return known }
      let made = make()
      all[name] = made
      return made
    }
  }
}

/// The read store: one server, or a primary and its standbys. Each has its own pools and its own progress.
package struct ReadStore: Sendable {
  package struct Server: Sendable {
    package let access: ReadAccess
    package let progress: ReadProgress

    package init(access: ReadAccess, progress: ReadProgress) { (self.access, self.progress) = (access, progress) }
  }

  package let servers: [Server]
  private let roundRobin = RoundRobin()

  private final class RoundRobin: Sendable {
    private let next = Atomic(0)
    func take(of count: Int) -> Int { next.wrappingAdd(1, ordering: .relaxed).oldValue % count }
  }

  /// - Precondition: `servers` is not empty.
  package init(_ servers: [Server]) {
    precondition(!servers.isEmpty, "a read store has a server")
    self.servers = servers
  }

  /// Returns a server that has reached the targets, round robin. If none has, returns the one that is furthest ahead.
  package func server(for targets: [ReadProgress.Target]) -> Server {
    guard servers.count > 1 else { return servers[0] }
    let alive = servers.filter(\.progress.isAlive)
    guard !alive.isEmpty else { return servers[roundRobin.take(of: servers.count)] }
    guard !targets.isEmpty else { return alive[roundRobin.take(of: alive.count)] }
    let ready = alive.filter { $0.progress.hasReached(targets) }
    if !ready.isEmpty { return ready[roundRobin.take(of: ready.count)] }
    return alive.max { $0.progress.advance(toward: targets) < $1.progress.advance(toward: targets) } ?? alive[0]
  }
}
