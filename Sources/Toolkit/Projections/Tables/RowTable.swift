internal import EventSourcing
internal import JSON
internal import Postgres

/// The table of a read model's rows. Of each generation there is one, made like `NAME_shape`; queries use the view `NAME`.
struct RowTable<Model: ReadModel>: Sendable {
  typealias Row = Model.Row

  /// With its schema.
  let name: String
  private let columns: [Column<Row>]
  private let types: [(name: String, type: String)]
  /// What follows the table's name where rows are inserted, and where they are there.
  private let insert: String
  private let update: String

  init(_ model: Model) {
    name = readModelsName + "." + model.name
    columns = model.columns
    types =
      [("key", "text"), ("version", "bigint"), ("stream_hash", "bigint"), ("document", "json")]
      + columns.map { ($0.name, $0.type) }
    insert = insertionSQL(types)
    let updates = types.dropFirst().map { "\($0.name) = excluded.\($0.name)" }
    update = " on conflict (key) do update set \(updates.joined(separator: ", "))"
  }

  /// SQL that makes the shape.
  func definition(indexes: [Index]) -> String {
    let shape = name + "_shape"
    let own = columns.map { ",\n  \($0.name) \($0.type)\($0.suffix)" }.joined()
    let table = """
      create table \(shape) (
        key text collate "C" primary key, version bigint not null, stream_hash bigint not null, document json not null\(own));
      """
    return table
      + (columns.compactMap(\.index) + indexes).map { "\ncreate index on \(shape) \($0.definition);" }.joined()
  }

  func select(_ keys: [String], from target: String) -> Query {
    "select key, document, stream_hash from \(unescaped: target) where key = any(\(array: keys))"
  }

  /// - Parameter rows: what `select` gave.
  func decode(_ rows: ResultSet?) throws -> [ExactText: StoredRow<Row>] {
    guard let rows = try rows?.decode((String, PostgresBytes, Int64).self) else { return [:] }
    return try ProjectionFault.blaming {
      Dictionary(
        uniqueKeysWithValues: try rows.map {
          (ExactText($0.0), StoredRow(try Model.decode(JSON(parsing: $0.1.bytes)), owner: $0.2))
        })
    }
  }

  /// Writes the changes, set-based.
  func statements(for changes: [RowChange<Row>], in target: String) throws -> [Statement] {
    var statements: [Statement] = []
    // By their places: rows may be large, and are copied no more often than needed.
    for isNew in [true, false] {
      let places = changes.indices.filter { (changes[$0].before == nil) == isNew && changes[$0].after != nil }
      if let statement = try write(changes, at: places, areNew: isNew, to: target) { statements.append(statement) }
    }
    let gone = changes.indices.filter { changes[$0].before != nil && changes[$0].after == nil }.map { changes[$0].key }
    if !gone.isEmpty {
      statements.append(.query("delete from \(unescaped: target) where key = any(\(array: gone))"))
    }
    return statements
  }

  /// From how many rows on a COPY, with its round trips, is faster than an insert.
  private static var copyThreshold: Int { 32 }

  /// - Parameter areNew: they are not there yet: where another stream has made one meanwhile, the statement fails. Otherwise
  ///   they are replaced.
  private func write(
    _ changes: [RowChange<Row>], at places: [Int], areNew: Bool, to target: String
  ) throws -> Statement? {
    guard !places.isEmpty else { return nil }
    let rows = places.compactMap { changes[$0].after }
    let values =
      [
        PostgresValue(PostgresArray(places.map { changes[$0].key })),
        PostgresValue(PostgresArray(places.map { changes[$0].version.rawValue })),
        PostgresValue(PostgresArray(places.map { changes[$0].owner })),
        PostgresValue(PostgresArray(try rows.map { PostgresText(utf8: try Model.document(of: $0)) })),
      ] + columns.map { $0.values(rows) }
    if areNew, rows.count >= Self.copyThreshold, zip(values, types).allSatisfy({ $0.isArray(of: $1.type) }) {
      return .copy(into: target, columns: zip(types, values).map { (name: $0.name, values: $1) })
    }
    return .query(Query("insert into " + target + insert + (areNew ? "" : update), values))
  }

  /// SQL that gives the rows' keys (k) and contents (c) as text: of all columns, or of the document; and their versions (v).
  func contents(of target: String, isWhole: Bool) -> String {
    // A row's own text form would quote all of the document again, which takes longer than reading it.
    let texts = (["version"] + columns.map(\.name)).map { "coalesce(\($0)::text, E'\\x1e')" }
    let whole = "concat_ws(E'\\x1f', \(texts.joined(separator: ", ")), document)"
    return "select key as k, \(isWhole ? whole : "document::text") as c, version as v from \(target) t"
  }
}

/// The end of a statement that inserts rows, given column by column as arrays.
func insertionSQL(_ columns: [(name: String, type: String)]) -> String {
  let selected = columns.enumerated().map { "u.c\($0)::\($1.type)" }.joined(separator: ", ")
  let parameters = columns.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
  let aliases = columns.indices.map { "c\($0)" }.joined(separator: ", ")
  return """
     (\(columns.map(\.name).joined(separator: ", "))) select \(selected)
    from unnest(\(parameters)) as u(\(aliases))
    """
}
