internal import CLibPQ

/// The result of one statement: its rows, and the number of rows that it affected.
public struct ResultSet: Sendable {
  private let result: LibPQResult

  init(_ result: LibPQResult) { self.result = result }

  public var count: Int { result.rowCount }
  public var isEmpty: Bool { count == 0 }

  /// The number of rows that an INSERT, UPDATE, DELETE, MERGE or COPY affected, or that a SELECT returned.
  public var affectedRows: Int { result.affectedRows }

  public subscript(row: Int) -> Row {
    precondition(row >= 0 && row < count, "row \(row) of \(count)")
    return Row(result: result, index: Int32(row))
  }

  public var first: Row? { isEmpty ? nil : self[0] }

  /// Returns every row as a tuple, in the order of the columns.
  public func decode<each Column: PostgresDecodable>(
    _ types: (repeat each Column).Type = (repeat each Column).self
  ) throws(PostgresError) -> [(repeat each Column)] {
    var rows: [(repeat each Column)] = []
    rows.reserveCapacity(count)
    for index in 0..<count { rows.append(try self[index].decode(types)) }
    return rows
  }

  /// Returns the first column of the first row.
  public func value<Column: PostgresDecodable>(_: Column.Type = Column.self) throws(PostgresError) -> Column {
    guard let first else { throw PostgresError(.decoding, "expected a row, found none") }
    return try first.column(0)
  }
}

public struct Row: Sendable {
  fileprivate let result: LibPQResult
  fileprivate let index: Int32

  public func column<Column: PostgresDecodable>(
    _ column: Int, as _: Column.Type = Column.self
  ) throws(PostgresError) -> Column {
    try Column(postgres: result.bytes(row: index, column: Int32(column)), oid: result.oid(column: Int32(column)))
  }

  public func decode<each Column: PostgresDecodable>(
    _: (repeat each Column).Type = (repeat each Column).self
  ) throws(PostgresError) -> (repeat each Column) {
    var next = 0
    func take<Value: PostgresDecodable>(_: Value.Type) throws(PostgresError) -> Value {
      defer { next += 1 }
      guard next < result.columnCount else {
        throw PostgresError(.decoding, "the answer has \(result.columnCount) columns, fewer than asked for")
      }
      return try column(next)
    }
    return (repeat try take((each Column).self))
  }
}

/// Owns a `PGresult`.
///
/// `@unchecked Sendable`: libpq documents that a returned PGresult is read-only and that any thread may read it
/// (section "Behavior in Threaded Programs"). Nothing here changes it before `deinit`.
final class LibPQResult: @unchecked Sendable {
  let pointer: OpaquePointer

  init(_ pointer: OpaquePointer) { self.pointer = pointer }

  deinit { PQclear(pointer) }

  var status: ExecStatusType { PQresultStatus(pointer) }
  var rowCount: Int { Int(PQntuples(pointer)) }
  var columnCount: Int { Int(PQnfields(pointer)) }
  var affectedRows: Int { Int(String(cString: PQcmdTuples(pointer))) ?? 0 }

  func oid(column: Int32) -> UInt32 { PQftype(pointer, column) }

  /// The bytes are valid while `self` lives, and a `Row` keeps it alive. Decoders copy the values that they keep.
  func bytes(row: Int32, column: Int32) -> UnsafeRawBufferPointer? {
    guard PQgetisnull(pointer, row, column) == 0, let value = PQgetvalue(pointer, row, column) else { return nil }
    return UnsafeRawBufferPointer(start: value, count: Int(PQgetlength(pointer, row, column)))
  }

  var error: PostgresError {
    func field(_ code: Character) -> String? {
      PQresultErrorField(pointer, Int32(code.asciiValue!)).map { String(cString: $0) }
    }
    let message = field("M") ?? String(cString: PQresultErrorMessage(pointer))
    guard let state = field("C") else { return PostgresError(.connectionLost, message) }
    return PostgresError(.server(SQLState(rawValue: state)), message, detail: field("D"), constraint: field("n"))
  }
}
