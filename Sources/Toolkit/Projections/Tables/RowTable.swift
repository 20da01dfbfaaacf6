internal import EventSourcing
internal import JSON
internal import Postgres

/// The table of a read model's rows. Each generation has one, made like `NAME_shape`. Queries use the view `NAME`.
struct RowTable<Model: ReadModel>: Sendable {
  typealias Row = Model.Row

  /// Qualified with the schema.
  let name: String
  private let columns: [Column<Row>]
  private let types: [(name: String, type: String)]
  /// The SQL after the table's name in an insert. `update` follows it if the rows may exist already.
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

  /// Returns SQL that creates the shape.
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

  /// - Parameter rows: the result of `select`.
  func decode(_ rows: ResultSet?) throws -> [ExactText: StoredRow<Row>] {
    guard let rows = try rows?.decode((String, PostgresBytes, Int64).self) else { return [:] }
    return try ProjectionFault.blaming {
      Dictionary(
        uniqueKeysWithValues: try rows.map {
          (ExactText($0.0), StoredRow(try Model.decode(JSON(parsing: $0.1.bytes)), owner: $0.2))
        })
    }
  }

  /// Returns statements that write the changes, each for many rows.
  func statements(for changes: [RowChange<Row>], in target: String) throws -> [Statement] {
    var statements: [Statement] = []
    // Uses indices: rows may be large, and are copied no more often than needed.
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

  /// The number of rows from which a COPY, with its round trips, is faster than an insert.
  private static var copyThreshold: Int { 32 }

  /// - Parameter areNew: whether the rows do not exist yet. If another stream has created one meanwhile, the
  ///   statement fails. Rows that are not new are replaced.
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

  /// Returns SQL for the rows as text: the key (k), the contents (c) and the version (v). The contents are all
  /// columns if `isWhole`, otherwise the document.
  func contents(of target: String, isWhole: Bool) -> String {
    // The text form of a whole row would quote the document again, which takes longer than reading it.
    let texts = (["version"] + columns.map(\.name)).map { "coalesce(\($0)::text, E'\\x1e')" }
    let whole = "concat_ws(E'\\x1f', \(texts.joined(separator: ", ")), document)"
    return "select key as k, \(isWhole ? whole : "document::text") as c, version as v from \(target) t"
  }
}

/// Returns the end of an insert whose rows are given as one array per column.
func insertionSQL(_ columns: [(name: String, type: String)]) -> String {
  let selected = columns.enumerated().map { "u.c\($0)::\($1.type)" }.joined(separator: ", ")
  let parameters = columns.indices.map { "$\($0 + 1)" }.joined(separator: ", ")
  let aliases = columns.indices.map { "c\($0)" }.joined(separator: ", ")
  return """
     (\(columns.map(\.name).joined(separator: ", "))) select \(selected)
    from unnest(\(parameters)) as u(\(aliases))
    """
}
