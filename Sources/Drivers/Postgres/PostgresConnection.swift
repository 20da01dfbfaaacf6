internal import CLibPQ
internal import EventLoop
import Glibc
internal import Synchronization

/// A connection to PostgreSQL: an actor on its own thread. Waiting for the server takes no thread from Swift's
/// cooperative pool.
///
/// Its methods are synchronous inside the actor; from outside, each is one `await`. Calls that belong together run in
/// `transaction(_:)`, whose body runs on the connection and cannot interleave with another task's calls. Cancelling the
/// calling task cancels the statement on the server, but never a COMMIT. A connection that breaks stays broken: take
/// another from a `PostgresPool`.
public actor PostgresConnection {
  /// How often a wait checks whether its task was cancelled.
  static let cancellationCheck = Duration.milliseconds(50)
  static let maximumStatements = 256

  public nonisolated let configuration: PostgresConfiguration
  let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private var handle: LibPQHandle?
  /// What any thread may know of the connection, so that a lease ends without a switch of threads.
  private enum Condition: UInt8, AtomicRepresentable { case closed, idle, inTransaction }
  private nonisolated let condition = Atomic(Condition.closed)
  var statements: [String: String] = [:]
  var statementCount = 0
  var sink: AsyncStream<PostgresNotification>.Continuation?

  private init(_ configuration: PostgresConfiguration, _ loop: EventLoop) {
    self.configuration = configuration
    self.loop = loop
  }

  deinit {
    sink?.finish()
    loop.stop()
  }

  /// Connects and authenticates.
  /// - Throws: `connectionFailed`, `connectionLost` or `cancelled`. A server's refusal is `connectionFailed` too: libpq has
  ///   no SQLSTATE for it. A pooler of transactions also is `connectionFailed`.
  public static func connect(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection {
    let connection = try await opened(configuration)
    do throws(PostgresError) { try await connection.refuseTransactionPooling() } catch {
      await connection.close()
      // Nothing of the caller was sent, so no outcome is unknown.
      throw error.code == .cancelled ? error : PostgresError(.connectionFailed, error.message)
    }
    return connection
  }

  /// Connects to a server or to any pooler.
  static func opened(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection {
    let loop: EventLoop
    do { loop = try EventLoop() } catch { throw PostgresError(.connectionFailed, "\(error)") }
    let connection = PostgresConnection(configuration, loop)
    try await connection.open()
    return connection
  }

  /// False once the connection is closed or broken.
  public nonisolated var isUsable: Bool { condition.load(ordering: .acquiring) != .closed }

  /// Whether a transaction has begun and not ended, as of the last result; also true if it failed.
  public nonisolated var isInTransaction: Bool { condition.load(ordering: .acquiring) == .inTransaction }

  /// Call it whenever the connection or its transaction may have begun or ended.
  func noteCondition() {
    guard let raw = handle?.raw else { return condition.store(.closed, ordering: .releasing) }
    condition.store(PQtransactionStatus(raw) == PQTRANS_IDLE ? .idle : .inTransaction, ordering: .releasing)
  }

  /// Whether a statement of the transaction failed, so that it can only be rolled back.
  var hasFailedTransaction: Bool {
    guard let raw = try? raw else { return false }
    return PQtransactionStatus(raw) == PQTRANS_INERROR
  }

  /// The server's process id of this connection, as in `pg_stat_activity.pid`.
  public var backendProcessID: Int32 { (try? raw).map { PQbackendPID($0) } ?? 0 }

  public func close() {
    loop.unwatch()
    handle = nil
    noteCondition()
    sink?.finish()
    sink = nil
  }

  /// Makes a round trip to check the connection, and closes the connection if the check fails.
  public func ping(timeout: Duration = .seconds(2)) throws(PostgresError) {
    do throws(PostgresError) {
      _ = try exchange(.now + timeout, cancellable: false) { PQsendQuery($0, "") }
    } catch {
      close()
      throw error
    }
  }

  var raw: OpaquePointer {
    get throws(PostgresError) {
      guard let raw = handle?.raw else { throw PostgresError(.closed, "the connection is closed") }
      return raw
    }
  }

  var errorMessage: String { handle?.errorMessage ?? "the connection is closed" }

  func requestCancel() { handle?.requestCancel() }

  /// Closes the connection, since its state is unknown, and returns the error to throw.
  func lose(_ code: PostgresError.Code = .connectionLost, _ message: String? = nil) -> PostgresError {
    let error = PostgresError(code, message ?? errorMessage)
    close()
    return error
  }

  private func open() throws(PostgresError) {
    guard let raw = startConnecting(configuration) else {
      throw PostgresError(.connectionFailed, "out of memory")
    }
    handle = LibPQHandle(raw)
    let deadline = ContinuousClock.now + configuration.connectTimeout
    var status = PQstatus(raw) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING
    while status != PGRES_POLLING_OK {
      do throws(PostgresError) {
        switch status {
        case PGRES_POLLING_READING: _ = try wait(for: POLLIN, until: deadline)
        case PGRES_POLLING_WRITING: _ = try wait(for: POLLOUT, until: deadline)
        default: throw PostgresError(.connectionFailed, errorMessage)
        }
      } catch {
        close()
        throw error.code == .timeout
          ? PostgresError(.connectionFailed, "no connection within \(configuration.connectTimeout)") : error
      }
      status = PQconnectPoll(raw)
    }
    PQsetnonblocking(raw, 1)
    // Warnings and notices belong in the server's log, not on standard error.
    PQsetNoticeProcessor(raw, { _, _ in }, nil)
    noteCondition()
  }

  /// Waits until the socket is ready for one of `events`.
  /// - Returns: the events that are ready.
  func wait(
    for events: Int32, until deadline: ContinuousClock.Instant, cancellable: Bool = true
  ) throws(PostgresError) -> Int32 {
    var descriptor = pollfd(fd: PQsocket(try raw), events: Int16(events), revents: 0)
    while true {
      let remaining = deadline - ContinuousClock.now
      guard remaining > .zero else { throw PostgresError(.timeout, "no answer in the time allowed") }
      let ready = poll(&descriptor, 1, min(remaining, Self.cancellationCheck).milliseconds)
      if ready > 0 { return Int32(descriptor.revents) }
      if ready < 0 && errno != EINTR { throw lose(.connectionLost, "poll: \(String(cString: strerror(errno)))") }
      if cancellable && Task.isCancelled { throw PostgresError(.cancelled, "the task was cancelled") }
    }
  }
}
