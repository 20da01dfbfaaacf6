package import EventSourcing
package import FoundationEssentials
internal import Postgres

/// The schema of the read models' tables.
let readModelsName = "read_models"

/// A read model as the engine runs it: its row type is erased, its tables are known.
public struct Projection: Sendable {
  /// The read model's name; `reaction/NAME` for a reaction.
  public let name: String
  /// The version of the code. A new version fills a new generation.
  public let version: Int
  /// The categories of the events that it handles.
  public let categories: Set<String>
  /// Whether it carries commands out instead of making rows.
  package let isReaction: Bool
  /// Whether its first generation leaves out the events that exist when it is created.
  let startsAtHead: Bool
  /// The number of events that it is given at once, at most, apart from idle ones; nil for what the projector reads at once.
  let batchLimit: Int?
  /// Whether its events are handled in the order of processes, not of streams.
  package let isCorrelated: Bool
  /// Events with the same one are handled in order: the event's stream, or the stream of the process that it concerns.
  let sequence: @Sendable (RecordedEvent) -> StreamID
  /// Whether nothing follows from an event. Then it waits for no transaction, and no transaction for it.
  let isIdle: @Sendable (RecordedEvent) -> Bool
  /// The table of the rows first, then the tables of the totals; qualified with the schema.
  public let tables: [String]
  /// SQL that creates the tables' shapes.
  let definition: String
  /// Prepares the read model for a batch of events of one history, and plans how to write it.
  let plan: @Sendable ([RecordedEvent], Generation, _ historyID: UUID) async throws -> BatchPlan
  /// Creates a replay, which folds events again for comparison: into rows, and into totals if `totals` is true.
  let replaying: @Sendable (_ totals: Bool) -> any AnyReplay
  /// For each table, SQL for the rows as text: the key (k), the contents (c) and the version (v; null in totals). The
  /// contents are all columns if `isWhole`, otherwise the document.
  let contents: [@Sendable (_ table: String, _ isWhole: Bool) -> String]
  /// For each table of totals, a query for the keys (k) and sums (c) of one partition, as text. The partition is its
  /// only parameter.
  let totals: [@Sendable (_ table: String, _ partition: Int) -> Query]

  /// Erases the row type of a read model.
  public init(_ model: some ReadModel) {
    name = model.name
    version = model.version
    categories = Set(model.sources.map(\.category))
    (isReaction, startsAtHead, batchLimit, isCorrelated) = (false, false, nil, false)
    sequence = { $0.stream }
    isIdle = { _ in false }
    let rows = RowTable(model)
    let totals = model.totals.flatMap(\.tables)
    tables = [rows.name] + totals.map(\.name)
    definition = ([rows.definition(indexes: model.indexes)] + totals.map(\.definition)).joined(separator: "\n")
    contents =
      [{ @Sendable in rows.contents(of: $0, isWhole: $1) }]
      + totals.map { total in { @Sendable table, _ in total.contents(of: table) } }
    self.totals = totals.map { total in { @Sendable in total.contents(of: $0, partition: $1) } }
    plan = { events, generation, _ in
      let keyed = try KeyedEvents(events, try await model.prepared(for: events, until: generation.until).sources)
      let (existing, target) = (keyed.existing, generation.table(rows.name))
      return BatchPlan(
        load: existing.isEmpty ? nil : rows.select(existing, from: target),
        statements: { found in
          let changes = try keyed.fold(into: try rows.decode(found))
          return try rows.statements(for: changes, in: target)
            + totals.compactMap { total in
              let sums = try total.sums(of: changes, generation.partitioning)
              return sums.isEmpty ? nil : .query(total.add(sums, to: generation.table(total.name)))
            }
        },
        inMemory: { tables in
          let changes = try keyed.fold(into: try tables.stored(existing, in: target, as: type(of: model)))
          var result = try tables.changes(by: changes, of: target, as: type(of: model))
          for total in totals {
            try tables.add(
              total.sums(of: changes, generation.partitioning), of: total, in: generation.table(total.name), to: &result
            )
          }
          return result
        })
    }
    replaying = { Replay(model, totals: $0 ? totals : []) }
  }

  /// A reaction, which has no tables. The engine gives it every event from which something follows at least once, and those
  /// of a stream in order.
  /// - Parameters:
  ///   - startsAtHead: whether it leaves out the events that are there when it is first run.
  ///   - batchLimit: the number of events that it is given at once, at most, apart from idle ones; nil for what the projector
  ///     reads at once.
  ///   - isCorrelated: whether `sequence` decides the order of events, instead of streams.
  ///   - sequence: for a process manager, the stream of the process that an event concerns.
  ///   - isIdle: whether nothing follows from an event.
  ///   - react: takes events and the id of their history. It returns once everything that follows from the events is durable,
  ///     except for those that it returns and those behind them in their streams. The engine treats its errors as it treats those of a read model: by their
  ///     `FailureKind`.
  package init(
    reaction name: String, version: Int, categories: Set<String>, startsAtHead: Bool, batchLimit: Int?,
    isCorrelated: Bool, sequence: @escaping @Sendable (RecordedEvent) -> StreamID,
    isIdle: @escaping @Sendable (RecordedEvent) -> Bool,
    _ react: @escaping @Sendable ([RecordedEvent], _ historyID: UUID) async throws -> [Refusal]
  ) {
    (self.name, self.version, self.categories) = (Self.name(ofReaction: name), version, categories)
    (self.startsAtHead, self.batchLimit, self.isCorrelated) = (startsAtHead, batchLimit, isCorrelated)
    (self.sequence, self.isIdle) = (sequence, isIdle)
    (isReaction, tables, definition, contents, totals) = (true, [], "", [], [])
    plan = { events, _, history in
      BatchPlan(
        load: nil, refusals: try await react(events, history), statements: { _ in [] }, inMemory: { _ in .init() })
    }
    replaying = { _ in preconditionFailure("a reaction has no rows") }
  }

  static let reactionPrefix = "reaction/"

  /// Returns the name under which the engine runs a reaction. No read model has such a name.
  package static func name(ofReaction name: String) -> String { reactionPrefix + name }

  /// Returns whether the engine runs a reaction under that name. Its checkpoints are in the write store.
  package static func isReaction(_ name: String) -> Bool { name.hasPrefix(reactionPrefix) }

  func takes(_ event: RecordedEvent) -> Bool { categories.contains(String(event.stream.category)) }

  /// How long checkpoints may stay unwritten. Queries with a token may wait for those of read models.
  var flushInterval: Duration { isReaction ? .seconds(1) : .milliseconds(50) }
}

/// How a batch of events changes rows: in tables of PostgreSQL, or in memory.
package struct BatchPlan: Sendable {
  /// Reads the stored rows that the batch changes; nil if no stored row is needed.
  let load: Query?
  /// The first event of each stream that is not handled.
  var refusals: [Refusal] = []
  /// - Parameter rows: the result of `load`.
  let statements: @Sendable (_ rows: ResultSet?) throws -> [Statement]
  /// Returns what changes where tables in memory are as given.
  package let inMemory: @Sendable (MemoryTables) throws -> MemoryTables.Changes

  /// Whether the batch handles an event: it is neither refused nor behind a refused one of its stream.
  func handles(_ event: RecordedEvent) -> Bool {
    !refusals.contains { $0.event.stream == event.stream && $0.event.version <= event.version }
  }
}
