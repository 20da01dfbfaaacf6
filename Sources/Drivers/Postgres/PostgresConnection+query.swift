internal import CLibPQ
import Glibc

extension PostgresConnection {
  /// Runs one statement. Its first use on this connection prepares it.
  /// - Parameter timeout: the time limit of the whole call; after it the statement is cancelled.
  @discardableResult
  public func query(_ query: Query, timeout: Duration? = nil) throws(PostgresError) -> ResultSet {
    try self.query(query, timeout: timeout, cancellable: true)
  }

  /// - Parameter cancellable: false for a statement that must not be interrupted, such as a commit. After `timeout` the
  ///   connection is then dropped, and the statement's outcome is unknown.
  public func query(_ query: Query, timeout: Duration?, cancellable: Bool) throws(PostgresError) -> ResultSet {
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    do {
      return try run(query, deadline, cancellable)
    } catch {
      // A pooler or DISCARD may have dropped the statement; a migration may have changed its columns.
      guard error.isStaleStatement else { throw error }
      // The transaction around it is lost, and so are the prepared statements: start again on another connection.
      guard !isInTransaction else { throw lose(.connectionLost, "a prepared statement went stale: \(error.message)") }
      statements = [:]
      try execute("deallocate all")
      return try run(query, deadline, cancellable)
    }
  }

  /// Runs SQL without parameters. Several statements, separated by semicolons, are one transaction unless they say
  /// otherwise. Rows are dropped.
  public func execute(_ script: String, timeout: Duration? = nil) throws(PostgresError) {
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    _ = try exchange(deadline, cancellable: true) { PQsendQuery($0, script) }
  }

  /// Runs `body` between BEGIN and COMMIT, or ROLLBACK if it throws. The body is synchronous and runs on the
  /// connection, so nothing interleaves with it.
  /// - Throws: the error of `body`, or a `PostgresError`. If COMMIT throws one whose `outcomeIsUnknown` is true, the
  ///   transaction may or may not have taken effect.
  public func transaction<Answer: Sendable>(
    _ body: @Sendable (isolated PostgresConnection) throws -> Answer
  ) throws -> Answer {
    try query("begin")
    let answer: Answer
    do {
      answer = try body(self)
      // COMMIT would report success, and roll back.
      if hasFailedTransaction {
        throw PostgresError(.misuse, "a statement of the transaction failed and the body went on; it is rolled back")
      }
    } catch {
      rollBack()
      throw error
    }
    _ = try query("commit", timeout: nil, cancellable: false)
    return answer
  }

  /// Ends a transaction that failed. If that fails too, the connection is dropped.
  func rollBack() {
    guard isInTransaction else { return }
    do { _ = try query("rollback", timeout: nil, cancellable: false) } catch { _ = lose() }
  }

  private func run(
    _ query: Query, _ deadline: ContinuousClock.Instant, _ cancellable: Bool
  ) throws(PostgresError) -> ResultSet {
    let name = try statement(for: query, deadline, cancellable)
    let results = try exchange(deadline, cancellable: cancellable) { raw in
      withParameters(query.binds) { values, lengths, formats in
        PQsendQueryPrepared(raw, name, Int32(query.binds.count), values, lengths, formats, 1)
      }
    }
    guard let result = results.last else { throw lose(.connectionLost) }
    return ResultSet(result)
  }

  private func statement(
    for query: Query, _ deadline: ContinuousClock.Instant, _ cancellable: Bool
  ) throws(PostgresError) -> String {
    let key = query.statementKey
    if let name = statements[key] { return name }
    if statements.count >= Self.maximumStatements {
      try execute("deallocate all")
      statements = [:]
    }
    let name = newStatementName()
    _ = try exchange(deadline, cancellable: cancellable) {
      PQsendPrepare($0, name, query.sql, Int32(query.binds.count), query.oids)
    }
    statements[key] = name
    return name
  }

  func newStatementName() -> String {
    statementCount += 1
    return "s\(statementCount)"
  }

  /// Sends with `send` and collects all results up to the end of the command.
  func exchange(
    _ deadline: ContinuousClock.Instant, cancellable: Bool, _ send: (OpaquePointer) -> Int32
  ) throws(PostgresError) -> [LibPQResult] {
    guard send(try raw) == 1 else { throw lose() }
    return try finish(deadline, cancellable: cancellable)
  }

  /// Collects all results up to the end of the command. On time-out or cancellation it first stops the statement on the
  /// server.
  func finish(_ deadline: ContinuousClock.Instant, cancellable: Bool) throws(PostgresError) -> [LibPQResult] {
    do throws(PostgresError) {
      return try collect(deadline, cancellable: cancellable)
    } catch {
      guard error.code == .timeout || error.code == .cancelled else { throw error }
      // A statement that must not be cancelled may still be running: only dropping the connection is safe.
      guard cancellable else { throw lose(error.code, error.message) }
      requestCancel()
      // A late cancel request would hit the next statement of this connection.
      guard end(by: .now + configuration.cancelGrace)?.sqlState == .queryCanceled else {
        throw lose(error.code, "\(error.message); the statement did not stop when cancelled, the connection is dropped")
      }
      throw error
    }
  }

  /// Reads to the end of the command.
  /// - Returns: the error that ended it; nil if it succeeded.
  private func end(by deadline: ContinuousClock.Instant) -> PostgresError? {
    do throws(PostgresError) { _ = try collect(deadline, cancellable: false) } catch { return error }
    return nil
  }

  private func collect(_ deadline: ContinuousClock.Instant, cancellable: Bool) throws(PostgresError) -> [LibPQResult] {
    var results: [LibPQResult] = []
    var failure: PostgresError?
    while let result = try nextResult(deadline, cancellable: cancellable) {
      if result.status == PGRES_FATAL_ERROR || result.status == PGRES_BAD_RESPONSE {
        failure = failure ?? result.error
      } else {
        results.append(result)
        // libpq repeats a COPY result until the data has been moved.
        if [PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH].contains(result.status) { break }
      }
    }
    if PQstatus(try raw) == CONNECTION_BAD { throw lose(.connectionLost, failure?.message) }
    if let failure { throw failure }
    return results
  }

  /// Returns the next result of the command, nil at its end. Sends and receives meanwhile.
  func nextResult(_ deadline: ContinuousClock.Instant, cancellable: Bool) throws(PostgresError) -> LibPQResult? {
    let raw = try raw
    while true {
      let unsent = PQflush(raw)
      if unsent < 0 && PQstatus(raw) == CONNECTION_BAD && PQisBusy(raw) == 1 { throw lose() }
      if PQisBusy(raw) == 0 { break }
      let ready = try wait(for: POLLIN | (unsent > 0 ? POLLOUT : 0), until: deadline, cancellable: cancellable)
      if ready & (POLLIN | POLLHUP | POLLERR) != 0 && PQconsumeInput(raw) == 0 { throw lose() }
    }
    defer { noteCondition() }
    return PQgetResult(raw).map { LibPQResult($0) }
  }
}

extension PostgresError {
  var isStaleStatement: Bool {
    sqlState == .invalidStatementName || message.hasPrefix("cached plan must not change result type")
  }
}

extension Query {
  var oids: [UInt32] { binds.map(\.oid) }

  /// The same text with other parameter types is a different prepared statement.
  var statementKey: String {
    binds.reduce(into: sql) { key, bind in key += "|\(bind.oid)" }
  }
}
