package import EventSourcing
internal import FoundationEssentials
internal import Postgres
internal import PostgresEventStore
internal import Synchronization

/// A read model's tables in memory, for tests. Rows and totals come from the functions that the engine uses.
package protocol ModelInMemory: Sendable {
  var name: String { get }

  /// Folds the next event into rows and totals: all of it, or nothing if it throws.
  /// - Throws: `ProjectionFault` if the event is at fault.
  func apply(_ event: RecordedEvent) async throws
  func row(_ key: String) -> ReadRow?
  /// - Throws: `ProjectionsError` if a column has a type that is not read here.
  func rows() throws -> [RowInMemory]
  /// The groups of a table of totals that has this name, without the schema. Groups whose sums are all 0 are left out.
  func groups(of table: String) -> [GroupInMemory]
}

/// A row, with the values of its columns as text; a null has no value.
package struct RowInMemory: Sendable {
  package let document: [UInt8]
  package let columns: [String: String]

  package init(document: [UInt8], columns: [String: String]) { (self.document, self.columns) = (document, columns) }
}

/// A group of a table of totals.
package struct GroupInMemory: Sendable {
  /// The values of the groups' columns as text, and then that of `value` in the table of a range.
  package let values: [String]
  package let sums: [Int64]

  package init(values: [String], sums: [Int64]) { (self.values, self.sums) = (values, sums) }
}

package struct TablesOfModel<Model: ReadModel>: ModelInMemory {
  private struct State {
    var folded = FoldedRows<Model>()
    var documents: [ExactText: ReadRow] = [:]
    /// By table, with the schema.
    var sums: [String: [TotalsKey: [Int64]]] = [:]
  }

  /// What a state becomes by one event.
  private struct Step {
    let changes: [RowChange<Model.Row>]
    let documents: [(ExactText, ReadRow?)]
    let sums: [(table: String, key: TotalsKey, sums: [Int64])]
  }

  private final class Stored: Sendable { let state = Mutex(State()) }

  private let model: Model
  private let categories: Set<String>
  private let tables: [TotalsTable<Model.Row>]
  private let stored = Stored()

  package init(_ model: Model) {
    self.model = model
    categories = Set(model.sources.map(\.category))
    tables = model.totals.flatMap(\.tables)
  }

  package var name: String { model.name }

  package func apply(_ event: RecordedEvent) async throws {
    guard categories.contains(String(event.stream.category)) else { return }
    let prepared = try await model.prepared(for: [event], until: nil)
    try stored.state.withLock { state in
      let step = try step(from: state, by: event, prepared)
      state.folded.keep(step.changes)
      for (key, row) in step.documents { state.documents[key] = row }
      for (table, key, sums) in step.sums {
        state.sums[table, default: [:]][key] = sums.contains { $0 != 0 } ? sums : nil
      }
    }
  }

  private func step(from state: State, by event: RecordedEvent, _ prepared: Model) throws -> Step {
    let changes = try state.folded.changes(of: [event], by: prepared)
    let documents = try changes.map { change in
      let row = try change.after.map {
        ReadRow(document: try Model.document(of: $0), version: change.version.rawValue)
      }
      return (ExactText(change.key), row)
    }
    var sums: [(table: String, key: TotalsKey, sums: [Int64])] = []
    for table in tables {
      for (key, amounts) in try table.sums(of: changes, .single) {
        var total = state.sums[table.name]?[key] ?? amounts.map { _ in 0 }
        try table.combine(&total, amounts) { $0.addingReportingOverflow($1) }
        sums.append((table.name, key, total))
      }
    }
    return Step(changes: changes, documents: documents, sums: sums)
  }

  package func row(_ key: String) -> ReadRow? { stored.state.withLock { $0.documents[ExactText(key)] } }

  package func rows() throws -> [RowInMemory] {
    let (folded, documents) = stored.state.withLock { ($0.folded, $0.documents) }
    return try documents.compactMap { key, read in
      guard let row = folded[key.text] else { return nil }
      var columns = ["key": key.text]
      for column in model.columns { columns[column.name] = try column.text(of: row) }
      return RowInMemory(document: read.document, columns: columns)
    }
  }

  package func groups(of table: String) -> [GroupInMemory] {
    let sums = stored.state.withLock { $0.sums["\(readModelsName).\(table)"] ?? [:] }
    return sums.map { GroupInMemory(values: $0.key.groups, sums: $0.value) }
  }
}

extension Column {
  /// Returns the value of a row as text that PostgreSQL reads; nil for null.
  /// - Throws: `ProjectionsError` for a type that is not read here.
  fileprivate func text(of row: Row) throws -> String? {
    let value = values([row])
    func first<Element: PostgresDecodable & PostgresEncodable>(_: Element.Type) throws -> Element? {
      guard let bytes = value.bytes else { return nil }
      return try bytes.withUnsafeBytes { try PostgresArray<Element?>(postgres: $0, oid: value.oid).elements[0] }
    }
    switch type {
    case "text": return try first(String.self)
    case "bigint": return try first(Int64.self).map { String($0) }
    case "boolean": return try first(Bool.self).map { $0 ? "true" : "false" }
    case "double precision": return try first(Double.self).map { "\($0)" }
    case "uuid": return try first(UUID.self)?.uuidString.lowercased()
    case "timestamptz":
      return try first(PostgresTimestamp.self).map { Timestamp($0).fullDescription }
    default: throw ProjectionsError("the column \(name) is of the type \(type), which no table in memory has")
    }
  }
}
