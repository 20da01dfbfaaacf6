public import EventSourcing
public import Postgres

/// A read model of keyed documents: which row an event belongs to, and what it does to it.
///
/// The engine does the rest: it reads the rows that a batch concerns, folds the events in memory and
/// writes the changed rows and the checkpoint in one transaction, so that each event counts once.
/// A row belongs to one stream, since order is kept per stream only.
public protocol Projection: Sendable {
  associatedtype Document: Sendable

  /// Names the checkpoints; it never changes.
  var name: String { get }

  var table: DocumentTable<Document> { get }

  /// The key of the row that the event concerns; nil when it concerns none.
  /// - Throws: for an event that this build does not know, which stops the partition rather than
  ///   skipping the event.
  func key(of event: RecordedEvent) throws -> String?

  /// Folds one event into its row: nil before the first event; set to nil to delete the row.
  func apply(_ event: RecordedEvent, to document: inout Document?) throws
}

/// How documents are stored: the table has the columns `key text primary key`, `document json` and the
/// columns named here, which exist to be searched by.
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
  let encode: @Sendable (Document) -> [UInt8]
  let decode: @Sendable ([UInt8]) throws -> Document

  /// - Precondition: names are the program's own, never input: they become part of the SQL.
  public init(
    _ name: String, columns: [Column], encode: @escaping @Sendable (Document) -> [UInt8],
    decode: @escaping @Sendable ([UInt8]) throws -> Document
  ) {
    self.name = name
    self.columns = columns
    self.encode = encode
    self.decode = decode
  }
}

extension DocumentTable {
  func select(_ keys: [String]) -> Query {
    "select key, document from \(unescaped: name) where key = any(\(array: keys))"
  }

  func delete(_ keys: [String]) -> Query {
    "delete from \(unescaped: name) where key = any(\(array: keys))"
  }

  /// Inserts or replaces rows, set-based.
  func upsert(_ rows: [(key: String, document: Document)]) -> Query {
    let documents = rows.map(\.document)
    let names = ["key", "document"] + columns.map(\.name)
    let types = ["text", "json"] + columns.map(\.type)
    let selected = names.enumerated().map { "u.c\($0.offset)::\(types[$0.offset])" }.joined(separator: ", ")
    let parameters = names.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
    let aliases = names.indices.map { "c\($0)" }.joined(separator: ", ")
    let updates = names.dropFirst().map { "\($0) = excluded.\($0)" }.joined(separator: ", ")
    return Query(
      """
      insert into \(name) (\(names.joined(separator: ", "))) select \(selected)
      from unnest(\(parameters)) as u(\(aliases)) on conflict (key) do update set \(updates)
      """,
      [
        PostgresValue(PostgresArray(rows.map(\.key))),
        PostgresValue(PostgresArray(documents.map { PostgresText(utf8: encode($0)) })),
      ] + columns.map { $0.values(documents) })
  }
}

/// A projection with its document type hidden, as the engine runs several.
public struct AnyProjection: Sendable {
  public let name: String
  /// Reads, folds and writes what `events` concern, inside the connection's transaction.
  let write: @Sendable (isolated PostgresConnection, [RecordedEvent]) throws -> Void

  public init(_ projection: some Projection) {
    name = projection.name
    write = { connection, events in try projection.write(events, on: connection) }
  }
}

extension Projection {
  /// Folds events into documents; pure. `load` gives the documents as they are stored.
  /// - Returns: every key that the events concern, with its document afterwards.
  public func fold(
    _ events: [RecordedEvent], load: ([String]) throws -> [String: Document]
  ) throws -> [(key: String, document: Document?)] {
    let keyed = try events.compactMap { event in try key(of: event).map { (key: $0, event: event) } }
    var order: [String] = []
    var seen: Set<String> = []
    for (key, _) in keyed where seen.insert(key).inserted { order.append(key) }
    guard !order.isEmpty else { return [] }
    var documents: [String: Document] = try load(order)
    for (key, event) in keyed {
      var document = documents[key]
      try apply(event, to: &document)
      documents[key] = document
    }
    return order.map { ($0, documents[$0]) }
  }

  func write(_ events: [RecordedEvent], on connection: isolated PostgresConnection) throws {
    let changes = try fold(events) { keys in
      let rows = try connection.query(table.select(keys)).decode((String, PostgresBytes).self)
      return Dictionary(uniqueKeysWithValues: try rows.map { ($0.0, try table.decode($0.1.bytes)) })
    }
    let kept = changes.compactMap { change in change.document.map { (key: change.key, document: $0) } }
    let gone = changes.filter { $0.document == nil }.map(\.key)
    if !kept.isEmpty { try connection.query(table.upsert(kept)) }
    if !gone.isEmpty { try connection.query(table.delete(gone)) }
  }
}
