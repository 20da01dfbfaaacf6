internal import DequeModule
internal import EventLoop
internal import Failures
public import Logging
internal import Metrics
public import ServiceLifecycle
internal import Synchronization

/// A bounded set of connections. One task at a time leases a connection.
///
/// A task waits for a connection for at most `acquireTimeout`, behind at most `maximumWaiters` others. Beyond either
/// limit it gets `poolExhausted`, and nothing has been sent. A connection is pinged before a lease if it was idle for
/// longer than `idleCheck`, or if another connection was lost meanwhile. A broken connection is replaced, with back-off
/// between attempts. As a `Service`, the pool closes its connections at shutdown.
public final class PostgresPool: Service {
  public struct Limits: Sendable {
    /// The maximum number of connections.
    public var size: Int
    public var acquireTimeout: Duration
    public var maximumWaiters: Int
    public var idleCheck: Duration

    public init(
      size: Int = 4, acquireTimeout: Duration = .seconds(2), maximumWaiters: Int = 1024,
      idleCheck: Duration = .seconds(5)
    ) {
      precondition(size > 0, "a pool needs at least one connection")
      self.size = size
      self.acquireTimeout = acquireTimeout
      self.maximumWaiters = maximumWaiters
      self.idleCheck = idleCheck
    }
  }

  /// The right that a waiter receives: to use a connection, or to open one.
  private enum Grant: Sendable {
    case connection(PostgresConnection, idleSince: ContinuousClock.Instant)
    case slot
  }

  private struct Waiter {
    let id: Int
    let continuation: CheckedContinuation<Grant, any Error>
  }

  private struct State {
    var idle: [(connection: PostgresConnection, since: ContinuousClock.Instant)] = []
    /// The number of connections that are leased, idle or being opened.
    var slotsTaken = 0
    var waiters: Deque<Waiter> = []
    var nextWaiter = 0
    var isClosed = false
    /// Whether an attempt to connect has failed, and none has succeeded since.
    var isFailing = false
    /// When a connection was last lost. Connections that have been idle since before may be lost too.
    var lastLoss: ContinuousClock.Instant?
  }

  public let configuration: PostgresConfiguration
  public let limits: Limits
  private let logger: Logger
  private let onConnect: @Sendable (PostgresConnection) async throws -> Void
  private let state = Mutex(State())
  private let exhausted: Counter
  private let failedConnects: Counter
  private let leased: Meter
  private let waits: Metrics.Timer

  /// - Parameter onConnect: checks each new connection before its first use. If it throws, the connection is closed.
  ///   The caller that asked for a connection gets the error, unless a retry succeeds in time.
  public init(
    _ configuration: PostgresConfiguration, limits: Limits = Limits(), logger: Logger,
    onConnect: @escaping @Sendable (PostgresConnection) async throws -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.limits = limits
    self.logger = logger
    self.onConnect = onConnect
    let dimensions = [("pool", configuration.applicationName)]
    exhausted = Counter(label: "postgres_pool_exhausted_total", dimensions: dimensions)
    failedConnects = Counter(label: "postgres_connect_failures_total", dimensions: dimensions)
    leased = Meter(label: "postgres_pool_leased", dimensions: dimensions)
    waits = Metrics.Timer(label: "postgres_pool_wait_seconds", dimensions: dimensions)
  }

  /// Leases a connection to `body`, which alone uses it until it returns.
  public func withConnection<Answer: Sendable>(
    _ body: (PostgresConnection) async throws -> Answer
  ) async throws -> Answer {
    let connection = try await acquire()
    leased.increment()
    defer { leased.decrement() }
    do {
      let answer = try await body(connection)
      await release(connection)
      return answer
    } catch {
      await release(connection)
      throw error
    }
  }

  /// Runs one statement on a leased connection.
  @discardableResult
  public func query(_ query: Query, timeout: Duration? = nil) async throws -> ResultSet {
    try await withConnection { try await $0.query(query, timeout: timeout) }
  }

  /// Runs until graceful shutdown, then closes the pool.
  public func run() async throws {
    try? await gracefulShutdown()
    await close()
  }

  /// Closes idle connections and fails all waiters. A leased connection closes when its lease ends.
  public func close() async {
    let (idle, waiters) = state.withLock { state in
      defer { (state.idle, state.waiters, state.isClosed) = ([], [], true) }
      return (state.idle, state.waiters)
    }
    for waiter in waiters { waiter.continuation.resume(throwing: Self.closedError) }
    for (connection, _) in idle { await connection.close() }
  }

  private static let closedError = PostgresError(.closed, "the pool is closed")
}

// MARK: Leases
extension PostgresPool {
  private func acquire() async throws -> PostgresConnection {
    let deadline = ContinuousClock.now + limits.acquireTimeout
    let immediate = try state.withLock { state throws(PostgresError) -> Grant? in
      guard !state.isClosed else { throw Self.closedError }
      if let (connection, since) = state.idle.popLast() { return .connection(connection, idleSince: since) }
      if state.slotsTaken < limits.size {
        state.slotsTaken += 1
        return .slot
      }
      return nil
    }
    let grant: Grant
    if let immediate {
      grant = immediate
    } else {
      let start = ContinuousClock.now
      defer { waits.record(duration: ContinuousClock.now - start) }
      grant = try await wait(until: deadline)
    }
    if case .connection(let connection, let since) = grant {
      let isSuspect = state.withLock { $0.lastLoss.map { since <= $0 } ?? false }
      if !isSuspect && ContinuousClock.now - since < limits.idleCheck { return connection }
      do {
        try await connection.ping(timeout: min(.seconds(2), max(deadline - .now, .milliseconds(50))))
        return connection
      } catch { logger.info("replacing a connection that was lost while idle", metadata: ["error": "\(error)"]) }
    }
    return try await open(until: deadline)
  }

  /// Opens a connection in the slot that the caller holds, and retries until the deadline.
  private func open(until deadline: ContinuousClock.Instant) async throws -> PostgresConnection {
    var backoff = Backoff(limit: .seconds(1))
    var configuration = configuration
    while true {
      do {
        configuration.connectTimeout = min(self.configuration.connectTimeout, max(deadline - .now, .milliseconds(100)))
        let connection = try await PostgresConnection.connect(configuration)
        do { try await onConnect(connection) } catch {
          await connection.close()
          throw error
        }
        state.withLock { $0.isFailing = false }
        return connection
      } catch {
        failedConnects.increment()
        let pause = backoff.next()
        guard FailureKind(error) == .retry, !Task.isCancelled, ContinuousClock.now + pause < deadline else {
          freeSlot()
          throw error
        }
        noteRetry(after: error)
        do { try await Task.sleep(for: pause) } catch {
          freeSlot()
          throw error
        }
      }
    }
  }

  /// Logs the first of several failures in a row.
  private func noteRetry(after error: any Error) {
    let isFirst = state.withLock { state in
      defer { state.isFailing = true }
      return !state.isFailing
    }
    if isFirst { logger.info("cannot connect yet, trying again", metadata: ["error": "\(error)"]) }
  }

  private func release(_ connection: PostgresConnection) async {
    var isReusable = connection.isUsable
    if isReusable, connection.isInTransaction {
      logger.error("a lease ended inside a transaction; the connection is dropped")
      await connection.close()
      isReusable = false
    }
    guard isReusable else {
      state.withLock { $0.lastLoss = .now }
      return freeSlot()
    }
    let isClosed = state.withLock { state in
      guard !state.isClosed else { return true }
      if let waiter = state.waiters.popFirst() {
        waiter.continuation.resume(returning: .connection(connection, idleSince: .now))
      } else {
        state.idle.append((connection, .now))
      }
      return false
    }
    if isClosed { await connection.close() }
  }

  private func freeSlot() {
    state.withLock { state in
      if let waiter = state.waiters.popFirst() {
        waiter.continuation.resume(returning: .slot)
      } else {
        state.slotsTaken -= 1
      }
    }
  }
}

// MARK: Waiting
extension PostgresPool {
  private func wait(until deadline: ContinuousClock.Instant) async throws -> Grant {
    let id = state.withLock { state in
      defer { state.nextWaiter += 1 }
      return state.nextWaiter
    }
    return try await withThrowingTaskGroup(of: Grant?.self) { group in
      group.addTask { try await self.enqueue(id, until: deadline) }
      group.addTask {
        // Only the waiter's own task returns a grant, so a concurrent time-out cannot lose one.
        try? await Task.sleep(until: deadline)
        self.dismiss(id, self.exhaustedError)
        return nil
      }
      defer { group.cancelAll() }
      while let result = try await group.next() {
        if let grant = result { return grant }
      }
      throw Self.closedError
    }
  }

  private var exhaustedError: PostgresError {
    PostgresError(.poolExhausted, "no connection free within \(limits.acquireTimeout)")
  }

  private func enqueue(_ id: Int, until deadline: ContinuousClock.Instant) async throws -> Grant {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let refusal = state.withLock { state -> PostgresError? in
          if state.isClosed { return Self.closedError }
          if Task.isCancelled { return PostgresError(.cancelled, "the task was cancelled") }
          // The time-out task has already fired, and found no waiter.
          if ContinuousClock.now >= deadline { return exhaustedError }
          if state.waiters.count >= limits.maximumWaiters {
            return PostgresError(.poolExhausted, "\(limits.maximumWaiters) tasks wait for a connection already")
          }
          // A connection or a slot may have become free since the first check.
          if let (connection, since) = state.idle.popLast() {
            continuation.resume(returning: .connection(connection, idleSince: since))
          } else if state.slotsTaken < limits.size {
            state.slotsTaken += 1
            continuation.resume(returning: .slot)
          } else {
            state.waiters.append(Waiter(id: id, continuation: continuation))
          }
          return nil
        }
        if let refusal {
          if refusal.code == .poolExhausted { exhausted.increment() }
          continuation.resume(throwing: refusal)
        }
      }
    } onCancel: {
      dismiss(id, PostgresError(.cancelled, "the task was cancelled"))
    }
  }

  private func dismiss(_ id: Int, _ error: PostgresError) {
    let waiter = state.withLock { state in
      state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
    }
    guard let waiter else { return }
    if error.code == .poolExhausted { exhausted.increment() }
    waiter.continuation.resume(throwing: error)
  }
}
