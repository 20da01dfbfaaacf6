internal import CLibPQ
internal import EventLoop
import Glibc

/// Owns a `PGconn`. Never leaves the actor that made it, so that one thread at a time uses it; the
/// type cannot be copied, so that it is finished exactly once.
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

  /// Asks the server, over a connection of its own, to cancel what it is doing; it may come too late.
  ///
  /// PQcancel waits for the server without a bound, so that a thread of its own does; libpq documents
  /// that a PGcancel may be used from any thread. The thread ends when the server answers or is gone.
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

/// Begins to connect, without waiting; nil when memory is out.
func startConnecting(_ configuration: PostgresConfiguration) -> OpaquePointer? {
  // What comes before `dbname` is a default that the URL may override.
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

/// Parameter arrays in the shape that libpq takes, valid during `body`.
func withParameters<Answer>(
  _ values: [PostgresValue],
  _ body: (UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?) -> Answer
) -> Answer {
  guard !values.isEmpty else { return body(nil, nil, nil) }
  // One buffer for all, each value followed by the NUL that text parameters need.
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
