public import EventSourcing
public import Postgres

/// A read model: which events it takes, the row that each belongs to, and what it does to that row.
///
/// The engine does the rest: it reads the rows that a batch concerns, folds the events in memory and
/// writes the changed rows and the checkpoint in one transaction, so that each event counts once.
/// A row belongs to one stream, since order is kept per stream only; what sums over streams is an
/// `AggregateTable` beside the rows.
public protocol Projection: Sendable {
  associatedtype Document: Sendable

  /// Names its checkpoints; it never changes. Lower-case letters, digits and `_`.
  var name: String { get }

  /// From 1; counted up whenever rows would come out otherwise than before. A process with a new version builds the
  /// tables anew beside the old ones, and lets them serve once they have caught up.
  var version: Int { get }

  /// The categories of the streams whose events it takes. Of these it must know every event.
  var categories: Set<String> { get }

  var table: DocumentTable<Document> { get }

  /// Sums over streams, kept from what the documents say; none unless there are any.
  var aggregates: [AggregateTable<Document>] { get }

  /// The key of the row that the event concerns: the stream's id, unless said otherwise; nil when it concerns none. No two
  /// streams share a row: a stream's first event is refused where there is one already.
  func key(of event: RecordedEvent) throws -> String?

  /// The projection with what it needs besides for these events: where it has to ask somebody, before they are folded. They are
  /// asked again for each batch. What it throws is taken for what it is (`FailureKind`), and is never the event's fault
  /// unless it says so: give errors of your own a `ClassifiedError`.
  func prepared(for events: [RecordedEvent], in generation: Generation) async throws -> Self

  /// Folds one event into its row: nil before the first event; set to nil to delete the row.
  /// - Throws: `EventDecodingError.unknownType` for an event that this build does not know, which stops the
  ///   partition until a build comes that does; any other error parks the stream (decision 16).
  func apply(_ event: RecordedEvent, to document: inout Document?) throws
}

extension Projection {
  public var aggregates: [AggregateTable<Document>] { [] }
  public func key(of event: RecordedEvent) throws -> String? { String(event.stream.id) }
  public func prepared(for events: [RecordedEvent], in generation: Generation) async throws -> Self { self }
}

/// How documents are stored. A migration makes the table `NAME_shape`, with the columns `key text primary key`,
/// `version bigint` (of the row's stream), `document json` and the columns named here, which exist to be searched
/// by; and the view `NAME`, which queries use. Each generation has a table like it.
public struct DocumentTable<Document: Sendable>: Sendable {
  /// A column that repeats part of the document.
  public struct Column: Sendable {
    public let name: String
    /// The PostgreSQL type, as in a cast.
    public let type: String
    let values: @Sendable ([Document]) -> PostgresValue

    public init<Value: PostgresEncodable>(
      _ name: String, _ type: String, _ value: @escaping @Sendable (Document) -> Value
    ) {
      self.name = name
      self.type = type
      values = { PostgresValue(PostgresArray($0.map(value))) }
    }
  }

  /// With its schema.
  public let name: String
  public let columns: [Column]
  public let encode: @Sendable (Document) -> [UInt8]
  public let decode: @Sendable ([UInt8]) throws -> Document
  /// What follows the table's name where rows are inserted, and where they may be there.
  let insert: String
  let update: String

  /// - Precondition: names are the program's own, never input: they become part of the SQL.
  public init(
    _ name: String, columns: [Column], encode: @escaping @Sendable (Document) -> [UInt8],
    decode: @escaping @Sendable ([UInt8]) throws -> Document
  ) {
    self.name = name
    self.columns = columns
    self.encode = encode
    self.decode = decode
    let fixed = [("key", "text"), ("version", "bigint"), ("document", "json")]
    insert = Self.insertion(fixed + columns.map { ($0.name, $0.type) })
    let updates = (["version", "document"] + columns.map(\.name)).map { "\($0) = excluded.\($0)" }
    update = " on conflict (key) do update set \(updates.joined(separator: ", "))"
  }

  /// The end of a statement that inserts rows, given column by column as arrays.
  static func insertion(_ columns: [(name: String, type: String)]) -> String {
    let selected = columns.enumerated().map { "u.c\($0)::\($1.type)" }.joined(separator: ", ")
    let parameters = columns.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
    let aliases = columns.indices.map { "c\($0)" }.joined(separator: ", ")
    return """
       (\(columns.map(\.name).joined(separator: ", "))) select \(selected)
      from unnest(\(parameters)) as u(\(aliases))
      """
  }
}

/// Sums over many streams: a row per partition and key, so that workers do not wait for one another. Queries sum over
/// the partitions. A migration makes `NAME_shape` with `partition integer`, the key's columns, the sums as
/// `bigint`, and all but the sums as its primary key; and the view `NAME`.
public struct AggregateTable<Document: Sendable>: Sendable {
  /// What one document adds to one row.
  public struct Contribution: Sendable, Hashable {
    public let key: [String]
    public let amounts: [Int64]

    /// - Parameters:
    ///   - key: in the order of the key's columns, as text.
    ///   - amounts: in the order of the sums.
    public init(_ key: [String], _ amounts: [Int64]) {
      self.key = key
      self.amounts = amounts
    }
  }

  /// With its schema.
  public let name: String
  /// Names and PostgreSQL types.
  public let keys: [(name: String, type: String)]
  public let sums: [String]
  /// What a document adds: the engine takes back what it added before it changed.
  public let contributions: @Sendable (Document) -> [Contribution]
  /// What follows the table's name where rows are inserted, and where they may be there.
  let insert: String
  let addition: String

  /// - Precondition: names are the program's own, never input: they become part of the SQL.
  public init(
    _ name: String, keys: [(name: String, type: String)], sums: [String],
    _ contributions: @escaping @Sendable (Document) -> [Contribution]
  ) {
    self.name = name
    self.keys = keys
    self.sums = sums
    self.contributions = contributions
    insert = DocumentTable<Document>.insertion(
      [("partition", "integer")] + keys + sums.map { (name: $0, type: "bigint") })
    let identity = (["partition"] + keys.map(\.name)).joined(separator: ", ")
    let updates = sums.map { "\($0) = t.\($0) + excluded.\($0)" }.joined(separator: ", ")
    addition = " on conflict (\(identity)) do update set \(updates)"
  }
}

/// A row before and after some events.
public struct RowChange<Document: Sendable>: Sendable {
  public let key: String
  /// Of the row's stream.
  public let hash: UInt16
  /// Of the last event.
  public let version: Version
  public let before: Document?
  public let after: Document?
  /// Whether the row's stream begins here, so that there can be no row yet.
  public let isNew: Bool
}

extension Projection {
  /// Folds events into rows; pure.
  /// - Throws: `ProjectionFault`, or what `load` throws.
  /// - Parameter load: gives the documents as they are stored.
  /// - Returns: every row that the events concern, in the order of their first ones.
  public func fold(
    _ events: [RecordedEvent], load: ([String]) throws -> [String: Document]
  ) throws -> [RowChange<Document>] {
    let keyed = try KeyedEvents(events, of: self)
    let existing = keyed.existing
    return try changes(keyed, existing.isEmpty ? [:] : load(existing))
  }

  /// - Parameter before: the documents as they are stored.
  func changes(_ keyed: KeyedEvents, _ before: [String: Document]) throws -> [RowChange<Document>] {
    var after = before
    var versions: [String: Version] = [:]
    for (key, event) in keyed.events {
      var document = after[key]
      try ProjectionFault.blaming { try apply(event, to: &document) }
      after[key] = document
      versions[key] = event.version
    }
    return keyed.order.map { key in
      let first = keyed.firsts[key]!
      return RowChange(
        key: key, hash: first.hash, version: versions[key]!, before: before[key], after: after[key],
        isNew: first.version.rawValue == 1)
    }
  }
}

/// Events with the keys of the rows that they concern.
struct KeyedEvents: Sendable {
  var events: [(key: String, event: RecordedEvent)] = []
  /// Keys in the order of their first events.
  var order: [String] = []
  var firsts: [String: RecordedEvent] = [:]

  /// Keys of rows that may be there: what begins here has none yet.
  var existing: [String] { order.filter { firsts[$0]!.version.rawValue > 1 } }

  init(_ events: [RecordedEvent], of projection: some Projection) throws {
    for event in events where projection.categories.contains(String(event.stream.category)) {
      guard let key = try ProjectionFault.blaming({ try projection.key(of: event) }) else { continue }
      if let first = firsts[key] {
        guard first.stream == event.stream else {
          throw ProjectionFault(
            underlying: ProjectionsError("\(first.stream) and \(event.stream) claim the same row, \(key)"))
        }
      } else {
        firsts[key] = event
        order.append(key)
      }
      self.events.append((key, event))
    }
  }
}

/// A projection with its document type hidden, as the engine runs several.
public struct AnyProjection: Sendable {
  public let name: String
  public let version: Int
  public let categories: Set<String>
  /// Of documents first, then of sums.
  public let tables: [String]
  /// How some events are folded, with what that needs besides.
  let plan: @Sendable ([RecordedEvent], Generation) async throws -> BatchPlan
  /// Folds events anew, for comparison: into rows, and into sums too where they are wanted.
  let replaying: @Sendable (_ sums: Bool) -> any AnyReplay
  /// For each table SQL that gives the rows' keys (k) and contents (c) as text: of all columns, or of the document; and
  /// their versions (v), null in sums.
  let contents: [@Sendable (_ table: String, _ isWhole: Bool) -> String]
  /// For each table of sums a query of the keys (k) and sums (c) that a partition, its one parameter, has, as text.
  let sums: [@Sendable (_ table: String, _ partition: Int) -> Query]

  public init(_ projection: some Projection) {
    name = projection.name
    version = projection.version
    categories = projection.categories
    tables = [projection.table.name] + projection.aggregates.map(\.name)
    // A row's own text form would quote all of the document again, which takes longer than reading it.
    let columns = (["version"] + projection.table.columns.map(\.name)).map { "coalesce(\($0)::text, E'\\x1e')" }
    let whole = "concat_ws(E'\\x1f', \(columns.joined(separator: ", ")), document)"
    let ofDocuments: @Sendable (String, Bool) -> String = { table, isWhole in
      "select key as k, \(isWhole ? whole : "document::text") as c, version as v from \(table) t"
    }
    contents =
      [ofDocuments]
      + projection.aggregates.map { aggregate in
        { @Sendable (table: String, _: Bool) in aggregate.contents(of: table) }
      }
    sums = projection.aggregates.map { aggregate in { aggregate.contents(of: $0, partition: $1) } }
    plan = { events, generation in
      try await projection.prepared(for: events, in: generation).plan(for: events, in: generation)
    }
    replaying = { Replay(projection, sums: $0) }
  }

  func takes(_ event: RecordedEvent) -> Bool { categories.contains(String(event.stream.category)) }
}
