internal import EventSourcing
internal import Postgres

/// A row as it should be.
struct ReplayedDocument: Sendable, Hashable {
  let version: Version
  let bytes: [UInt8]
}

/// Folds streams from their beginning, page by page, without a database. Only one task uses it.
final class Replay<Model: ReadModel> {
  /// The number of sums in one statement.
  private static var rowsAtOnce: Int { 5_000 }

  private let model: Model
  private let totals: [TotalsTable<Model.Row>]
  private var rows = FoldedRows<Model>()
  /// The version of the last event of each row, including deleted rows.
  private var versions: [ExactText: Version] = [:]
  private var sums: [String: [TotalsKey: [Int64]]] = [:]

  init(_ model: Model, totals: [TotalsTable<Model.Row>]) {
    self.model = model
    self.totals = totals
  }

  /// - Parameter events: each stream's events in order; they continue where the last page ended.
  func apply(_ events: [RecordedEvent], _ generation: Generation) async throws {
    let model = try await model.prepared(for: events, until: generation.until)
    let changes = try rows.apply(events, by: model)
    for change in changes { versions[ExactText(change.key)] = change.version }
    for total in totals {
      for (key, amounts) in try total.sums(of: changes, generation.partitioning) {
        let before = sums[total.name]?[key] ?? Array(repeating: 0, count: amounts.count)
        let after = zip(before, amounts).map { $0 &+ $1 }
        sums[total.name, default: [:]][key] = after.contains { $0 != 0 } ? after : nil
      }
    }
  }

  /// Returns and forgets the rows that were folded since the last call. Their streams must be complete.
  func takeRows() throws -> [ExactText: ReplayedDocument] {
    defer { (rows, versions) = (FoldedRows(), [:]) }
    return try versions.reduce(into: [:]) { documents, entry in
      guard let row = rows[entry.key.text] else { return }
      documents[entry.key] = ReplayedDocument(version: entry.value, bytes: try Model.document(of: row))
    }
  }

  var rowCount: Int { versions.count }
  var sumCount: Int { sums.values.reduce(0) { $0 + $1.count } }

  /// Moves the sums to tables on the server, and frees their memory.
  /// - Parameter targets: one table for each table of totals, in that order. A key may have several rows there.
  func moveSums(to targets: [String], _ run: (Query) async throws -> Void) async throws {
    for (total, target) in zip(totals, targets) {
      var rows: [(key: TotalsKey, value: [Int64])] = []
      for row in sums.removeValue(forKey: total.name) ?? [:] {
        rows.append(row)
        guard rows.count == Self.rowsAtOnce else { continue }
        try await run(total.insertion(rows, into: target))
        rows = []
      }
      if !rows.isEmpty { try await run(total.insertion(rows, into: target)) }
    }
  }

  /// Returns the sums of a table that are in memory, as text, by their keys. Sums of 0 are left out.
  func sums(of table: String) -> [ExactText: String] {
    (sums[table] ?? [:]).reduce(into: [:]) { texts, sum in
      texts[ExactText(sum.key.groups.joined(separator: " / "))] = sum.value.map(String.init).joined(separator: ",")
    }
  }
}

/// A replay whose row type is erased.
protocol AnyReplay: AnyObject {
  func apply(_ events: [RecordedEvent], _ generation: Generation) async throws
  func takeRows() throws -> [ExactText: ReplayedDocument]
  var rowCount: Int { get }
  var sumCount: Int { get }
  func moveSums(to targets: [String], _ run: (Query) async throws -> Void) async throws
  func sums(of table: String) -> [ExactText: String]
}

extension Replay: AnyReplay {}
