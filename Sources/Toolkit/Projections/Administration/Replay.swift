internal import EventSourcing
internal import Postgres

/// A row as it ought to be.
struct ReplayedDocument: Sendable, Hashable {
  let version: Version
  let bytes: [UInt8]
}

/// Folds streams from their beginning, page by page, without a database. One task uses it.
final class Replay<Folding: Projection> {
  /// Sums that one statement takes.
  private static var rowsAtOnce: Int { 5_000 }

  private let projection: Folding
  private let isSumming: Bool
  private var documents: [String: Folding.Document] = [:]
  /// Of the last event of each row, also of those that are gone.
  private var versions: [String: Version] = [:]
  private var sums: [String: [AggregateKey: [Int64]]] = [:]

  init(_ projection: Folding, sums: Bool) {
    self.projection = projection
    isSumming = sums
  }

  /// - Parameter events: each stream's in order, from where the last page ended.
  func apply(_ events: [RecordedEvent], _ generation: Generation) async throws {
    let projection = try await projection.prepared(for: events, in: generation)
    let changes = try projection.fold(events) { keys in
      keys.reduce(into: [:]) { $0[$1] = documents[$1] }
    }
    for change in changes {
      documents[change.key] = change.after
      versions[change.key] = change.version
    }
    for aggregate in isSumming ? projection.aggregates : [] {
      for (key, amounts) in try aggregate.sums(of: changes, generation) {
        let before = sums[aggregate.name]?[key] ?? Array(repeating: 0, count: amounts.count)
        let after = zip(before, amounts).map { $0 &+ $1 }
        sums[aggregate.name, default: [:]][key] = after.contains { $0 != 0 } ? after : nil
      }
    }
  }

  /// The rows that were folded since the last time: their streams have ended.
  func takeRows() -> [String: ReplayedDocument] {
    defer { (documents, versions) = ([:], [:]) }
    return documents.reduce(into: [:]) { rows, row in
      guard let version = versions[row.key] else { return }
      rows[row.key] = ReplayedDocument(version: version, bytes: projection.table.encode(row.value))
    }
  }

  var rowCount: Int { versions.count }
  var sumCount: Int { sums.values.reduce(0) { $0 + $1.count } }

  /// Adds the sums to tables of the server's, and holds them no longer.
  /// - Parameter targets: in the order of the aggregates; each key may come to have many rows.
  func moveSums(to targets: [String], _ run: (Query) async throws -> Void) async throws {
    for (aggregate, target) in zip(projection.aggregates, targets) {
      var rows: [(key: AggregateKey, value: [Int64])] = []
      for row in sums.removeValue(forKey: aggregate.name) ?? [:] {
        rows.append(row)
        guard rows.count == Self.rowsAtOnce else { continue }
        try await run(aggregate.insertion(rows, into: target))
        rows = []
      }
      if !rows.isEmpty { try await run(aggregate.insertion(rows, into: target)) }
    }
  }

  /// All sums of a table that are held, as text, by their keys; those that are 0 are left out.
  func sums(of table: String) -> [String: String] {
    (sums[table] ?? [:]).reduce(into: [:]) { texts, sum in
      texts[sum.key.key.joined(separator: " / ")] = sum.value.map(String.init).joined(separator: ",")
    }
  }
}

/// A replay with its document type hidden.
protocol AnyReplay: AnyObject {
  func apply(_ events: [RecordedEvent], _ generation: Generation) async throws
  func takeRows() -> [String: ReplayedDocument]
  var rowCount: Int { get }
  var sumCount: Int { get }
  func moveSums(to targets: [String], _ run: (Query) async throws -> Void) async throws
  func sums(of table: String) -> [String: String]
}

extension Replay: AnyReplay {}
