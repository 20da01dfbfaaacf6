internal import CLibPQ
internal import EventLoop
import Glibc

/// Owns a `PGconn`. It never leaves the actor that made it, so only one thread at a time uses it. The type cannot be
/// copied, so the connection is finished exactly once.
struct LibPQHandle: ~Copyable {
  let raw: OpaquePointer

  init(_ raw: OpaquePointer) { self.raw = raw }

  deinit { PQfinish(raw) }

  var socket: Int32 { PQsocket(raw) }

  var errorMessage: String {
    var message = String(cString: PQerrorMessage(raw))
    while message.last?.isNewline == true { message.removeLast() }
    return message
  }

  /// Asks the server to cancel the current statement, over a separate connection. The request may arrive too late.
  ///
  /// PQcancel may wait for the server without limit, so it runs on its own thread. libpq documents that any thread may
  /// use a PGcancel. The thread ends when the server answers or is gone.
  func requestCancel() {
    guard let cancel = PQgetCancel(raw) else { return }
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { argument in
        let cancel = OpaquePointer(argument)
        var message = [CChar](repeating: 0, count: 256)
        _ = PQcancel(cancel, &message, Int32(message.count))
        PQfreeCancel(cancel)
        return nil
      }, UnsafeMutableRawPointer(cancel))
    if result == 0 { pthread_detach(thread) } else { PQfreeCancel(cancel) }
  }
}

/// Starts to connect, without waiting. Returns nil if memory runs out.
func startConnecting(_ configuration: PostgresConfiguration) -> OpaquePointer? {
  // Values before `dbname` are defaults that the URL may override.
  let parameters = [
    ("application_name", configuration.applicationName),
    ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
    ("tcp_user_timeout", String(configuration.unacknowledgedTimeout.milliseconds)),
    ("dbname", configuration.url),
    ("client_encoding", "UTF8"),
  ]
  let keywords = parameters.map { strdup($0.0) } + [nil]
  let values = parameters.map { strdup($0.1) } + [nil]
  defer { (keywords + values).forEach { free($0) } }
  return PQconnectStartParams(keywords.map { UnsafePointer($0) }, values.map { UnsafePointer($0) }, 1)
}

/// Calls `body` with parameter arrays as libpq takes them, valid only during the call.
func withParameters<Answer>(
  _ values: [PostgresValue],
  _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> Answer
) -> Answer {
  guard !values.isEmpty else { return body(nil, nil, nil) }
  // One buffer for all values, each followed by the NUL that text parameters need.
  var buffer: [UInt8] = []
  buffer.reserveCapacity(values.reduce(0) { $0 + ($1.bytes?.count ?? 0) + 1 })
  var offsets: [Int?] = []
  for value in values {
    offsets.append(value.bytes.map { _ in buffer.count })
    buffer.append(contentsOf: value.bytes ?? [])
    buffer.append(0)
  }
  let lengths = values.map { Int32($0.bytes?.count ?? 0) }
  let formats = values.map { Int32($0.isText ? 0 : 1) }
  return buffer.withUnsafeBytes { bytes in
    let base = bytes.baseAddress!.assumingMemoryBound(to: CChar.self)
    return offsets.map { $0.map { base + $0 } }.withUnsafeBufferPointer { pointers in
      body(pointers.baseAddress, lengths, formats)
    }
  }
}
