internal import EventSourcing
internal import Postgres

/// The schema of the read models' tables.
let readModelsName = "read_models"

/// A read model as the engine runs it: its row type hidden, its tables known.
public struct Projection: Sendable {
  public let name: String
  public let version: Int
  public let categories: Set<String>
  /// Of rows first, then of totals; with their schema.
  public let tables: [String]
  /// SQL that makes the tables' shapes.
  let definition: String
  /// How some events are folded, with what that needs besides.
  let plan: @Sendable ([RecordedEvent], Generation) async throws -> BatchPlan
  /// Folds events anew, for comparison: into rows, and into totals too where they are wanted.
  let replaying: @Sendable (_ totals: Bool) -> any AnyReplay
  /// For each table SQL that gives the rows' keys (k) and contents (c) as text: of all columns, or of the document; and
  /// their versions (v), null in totals.
  let contents: [@Sendable (_ table: String, _ isWhole: Bool) -> String]
  /// For each table of totals a query of the keys (k) and sums (c) that a partition, its one parameter, has, as text.
  let totals: [@Sendable (_ table: String, _ partition: Int) -> Query]

  public init(_ model: some ReadModel) {
    name = model.name
    version = model.version
    categories = Set(model.sources.map(\.category))
    let rows = RowTable(model)
    let totals = model.totals.flatMap(\.tables)
    tables = [rows.name] + totals.map(\.name)
    definition = ([rows.definition(indexes: model.indexes)] + totals.map(\.definition)).joined(separator: "\n")
    contents =
      [{ @Sendable in rows.contents(of: $0, isWhole: $1) }]
      + totals.map { total in { @Sendable table, _ in total.contents(of: table) } }
    self.totals = totals.map { total in { @Sendable in total.contents(of: $0, partition: $1) } }
    plan = { events, generation in
      let keyed = try KeyedEvents(events, try await model.prepared(for: events, in: generation).sources)
      let (existing, target) = (keyed.existing, generation.table(rows.name))
      return BatchPlan(load: existing.isEmpty ? nil : rows.select(existing, from: target)) { found in
        let changes = try keyed.fold(into: try rows.decode(found))
        return try rows.statements(for: changes, in: target)
          + totals.compactMap { total in
            let sums = try total.sums(of: changes, generation.partitioning)
            return sums.isEmpty ? nil : .query(total.add(sums, to: generation.table(total.name)))
          }
      }
    }
    replaying = { Replay(model, totals: $0 ? totals : []) }
  }

  func takes(_ event: RecordedEvent) -> Bool { categories.contains(String(event.stream.category)) }
}

/// What a batch of events does to a read store: what is read first, and what is to be written then.
struct BatchPlan: Sendable {
  /// nil where no row is needed.
  let load: Query?
  /// - Parameter rows: what `load` answered.
  let statements: @Sendable (_ rows: ResultSet?) throws -> [Statement]
}
