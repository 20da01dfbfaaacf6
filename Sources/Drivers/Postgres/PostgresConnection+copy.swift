internal import CLibPQ
import Glibc

/// Writes the rows of a COPY FROM STDIN, in COPY's text format or as raw bytes.
public struct CopyWriter {
  static let bufferSize = 64 * 1024
  fileprivate var buffer: [UInt8] = []
  fileprivate let send: ([UInt8]) throws(PostgresError) -> Void

  /// Writes one row in text form; nil stands for NULL. The method escapes the columns.
  public mutating func write(row columns: [String?]) throws(PostgresError) {
    for (index, column) in columns.enumerated() {
      if index > 0 { buffer.append(UInt8(ascii: "\t")) }
      guard let column else {
        buffer.append(contentsOf: #"\N"#.utf8)
        continue
      }
      for byte in column.utf8 { append(escaping: byte) }
    }
    buffer.append(UInt8(ascii: "\n"))
    if buffer.count >= Self.bufferSize { try flush() }
  }

  /// Writes bytes unchanged: whole rows or parts of rows, in the format that the statement names.
  public mutating func write(raw bytes: some Sequence<UInt8>) throws(PostgresError) {
    buffer.append(contentsOf: bytes)
    if buffer.count >= Self.bufferSize { try flush() }
  }

  fileprivate mutating func flush() throws(PostgresError) {
    guard !buffer.isEmpty else { return }
    try send(buffer)
    buffer.removeAll(keepingCapacity: true)
  }

  private mutating func append(escaping byte: UInt8) {
    let escaped: Unicode.Scalar? =
      switch byte {
      case UInt8(ascii: "\\"): "\\"
      case UInt8(ascii: "\n"): "n"
      case UInt8(ascii: "\r"): "r"
      case UInt8(ascii: "\t"): "t"
      default: nil
      }
    if let escaped {
      buffer.append(contentsOf: [UInt8(ascii: "\\"), UInt8(escaped.value)])
    } else {
      buffer.append(byte)
    }
  }
}

extension PostgresConnection {
  /// Runs a COPY … FROM STDIN; `body` writes the rows. If it throws, nothing is stored.
  /// - Returns: the number of rows stored.
  public func copyIn(
    _ statement: String, timeout: Duration? = nil, _ body: @Sendable (inout CopyWriter) throws -> Void
  ) throws -> Int {
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    try begin(statement, expecting: PGRES_COPY_IN, deadline)
    var writer = CopyWriter { bytes throws(PostgresError) in try self.put(bytes, deadline) }
    do {
      try body(&writer)
      try writer.flush()
    } catch {
      abandonCopyIn()
      throw error
    }
    while true {
      let ended = PQputCopyEnd(try raw, nil)
      if ended == 1 { break }
      if ended < 0 { throw lose() }
      _ = try wait(for: POLLOUT, until: deadline)
    }
    return try finish(deadline, cancellable: true).last?.affectedRows ?? 0
  }

  /// Stores rows that are given column by column, with a binary COPY.
  /// - Parameters:
  ///   - table: becomes part of the SQL, as the column names do: never input.
  ///   - columns: arrays of one length, whose elements are in the binary form of the column's type; see
  ///     `PostgresValue.isArray(of:)`.
  /// - Returns: the number of rows stored.
  public func copyIn(into table: String, columns: [(name: String, values: PostgresValue)]) throws -> Int {
    let names = columns.map(\.name).joined(separator: ", ")
    let rows = columns.map(\.values).binaryCopy()
    return try copyIn("copy \(table) (\(names)) from stdin (format binary)") { try $0.write(raw: rows) }
  }

  /// Runs a COPY … TO STDOUT and calls `body` with the bytes of each row, valid only during the call. If it throws, the
  /// copy is cancelled.
  /// - Returns: the number of rows read.
  public func copyOut(
    _ statement: String, timeout: Duration? = nil, _ body: @Sendable (UnsafeRawBufferPointer) throws -> Void
  ) throws -> Int {
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    try begin(statement, expecting: PGRES_COPY_OUT, deadline)
    do {
      while let (row, count) = try nextCopyRow(deadline) {
        defer { PQfreemem(row) }
        try body(UnsafeRawBufferPointer(start: row, count: count))
      }
    } catch {
      abandonCopyOut()
      throw error
    }
    return try finish(deadline, cancellable: true).last?.affectedRows ?? 0
  }

  /// Tells the server to store nothing. If the server does not answer in time, the connection is dropped.
  private func abandonCopyIn() {
    guard let raw = try? raw else { return }
    guard PQputCopyEnd(raw, "the writer gave up") >= 0 else { return _ = lose() }
    settle()
  }

  private func abandonCopyOut() {
    requestCancel()
    do throws(PostgresError) {
      while let (row, _) = try nextCopyRow(.now + configuration.cancelGrace, cancellable: false) { PQfreemem(row) }
      _ = try finish(.now + configuration.cancelGrace, cancellable: false)
    } catch {
      if error.sqlState == .queryCanceled { return }
    }
    // Not cancelled, or not yet: a late cancel request would hit the connection's next statement.
    if isUsable { _ = lose() }
  }

  /// Reads to the end of an abandoned command. A server error is expected here.
  private func settle() {
    do throws(PostgresError) {
      _ = try finish(.now + configuration.cancelGrace, cancellable: false)
    } catch {
      if error.sqlState == nil { _ = lose() }
    }
  }

  private func begin(
    _ statement: String, expecting status: ExecStatusType, _ deadline: ContinuousClock.Instant
  ) throws(PostgresError) {
    let results = try exchange(deadline, cancellable: true) { PQsendQuery($0, statement) }
    guard results.last?.status == status else {
      throw lose(.misuse, "not a COPY of this direction: \(statement)")
    }
  }

  private func put(_ bytes: [UInt8], _ deadline: ContinuousClock.Instant) throws(PostgresError) {
    while true {
      let raw = try raw
      let queued = bytes.withUnsafeBytes {
        PQputCopyData(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count))
      }
      if queued < 0 { throw lose() }
      // Keeps libpq's buffer small: waits for the socket before taking more.
      while PQflush(raw) == 1 { _ = try wait(for: POLLOUT, until: deadline) }
      if queued == 1 { return }
    }
  }

  private func nextCopyRow(
    _ deadline: ContinuousClock.Instant, cancellable: Bool = true
  ) throws(PostgresError) -> (UnsafeMutablePointer<CChar>, Int)? {
    while true {
      let raw = try raw
      var row: UnsafeMutablePointer<CChar>?
      let length = PQgetCopyData(raw, &row, 1)
      if let row, length > 0 { return (row, Int(length)) }
      if length == -1 { return nil }
      if length == -2 { throw PQstatus(raw) == CONNECTION_BAD ? lose() : PostgresError(.misuse, errorMessage) }
      _ = try wait(for: POLLIN, until: deadline, cancellable: cancellable)
      if PQconsumeInput(raw) == 0 { throw lose() }
    }
  }
}

extension PostgresValue {
  /// Whether the value is an array whose elements have the binary form of a column of that type.
  public func isArray(of type: String) -> Bool {
    guard !isText, let bytes, bytes.count >= 12 else { return false }
    let element = bytes[8..<12].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let fitting: Set<String> =
      switch element {
      case TypeOID.bool: ["boolean", "bool"]
      case TypeOID.bytea: ["bytea"]
      case TypeOID.int8: ["bigint", "int8"]
      case TypeOID.int4: ["integer", "int", "int4"]
      case TypeOID.text: ["text", "json"]
      case TypeOID.float8: ["double precision", "float8"]
      case TypeOID.timestamptz: ["timestamptz", "timestamp with time zone"]
      case TypeOID.uuid: ["uuid"]
      default: []
      }
    return fitting.contains(type)
  }
}

extension [PostgresValue] {
  /// Returns arrays of one length, one per column, as the rows of a binary COPY. Both formats have each element in the
  /// same form, after its length.
  fileprivate func binaryCopy() -> [UInt8] {
    var copy = Array<UInt8>("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00] + [UInt8](repeating: 0, count: 8)
    copy.reserveCapacity(reduce(64) { $0 + ($1.bytes?.count ?? 0) })
    let columns = map { $0.bytes ?? [] }
    var offsets = [Int](repeating: 20, count: count)
    while let first = columns.first, offsets[0] < first.count {
      copy.append(bigEndian: Int16(count))
      for (index, column) in columns.enumerated() {
        let length = column.withUnsafeBytes {
          Int(Int32(bigEndian: $0.loadUnaligned(fromByteOffset: offsets[index], as: Int32.self)))
        }
        let end = offsets[index] + 4 + Swift.max(0, length)
        copy.append(contentsOf: column[offsets[index]..<end])
        offsets[index] = end
      }
    }
    copy.append(bigEndian: Int16(-1))
    return copy
  }
}
