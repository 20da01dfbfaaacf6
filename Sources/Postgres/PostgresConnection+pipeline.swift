internal import CLibPQ

extension PostgresConnection {
  /// Sends all `queries` without waiting in between, and collects their answers in order: one round
  /// trip for all. Each is a transaction of its own, and one that fails does not touch the others; unless
  /// they are in a transaction, or begin one, by statements of their own.
  ///
  /// Past `timeout`, or when the task is cancelled, the connection is dropped, since a cancel request
  /// cannot say which of the queries it means.
  /// - Parameter isAllOrNothing: the queries are one transaction: then the server is asked to stop too, so that a statement that
  ///   waits there gives back what the transaction has locked.
  /// - Throws: only what stops the pipeline whole; a query's own failure is in its result.
  public func pipeline(
    _ queries: [Query], timeout: Duration? = nil, isAllOrNothing: Bool = false
  ) throws(PostgresError) -> [Result<ResultSet, PostgresError>] {
    guard !queries.isEmpty else { return [] }
    let raw = try raw
    guard PQenterPipelineMode(raw) == 1 else { throw PostgresError(.misuse, errorMessage) }
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    var answers: [Result<ResultSet, PostgresError>] = []
    do throws(PostgresError) {
      let isPreparing = try queries.map { query throws(PostgresError) in try send(query, raw) }
      for (query, isPreparing) in zip(queries, isPreparing) {
        let answer = try receive(deadline)
        // Should the prepare be what failed, or the statement be gone, its name is not used again.
        if case .failure(let error) = answer, isPreparing || error.isStaleStatement {
          statements[query.statementKey] = nil
        }
        answers.append(answer)
      }
    } catch {
      if isAllOrNothing { requestCancel() }
      throw lose(error.code, error.message)
    }
    guard PQexitPipelineMode(raw) == 1 else { throw lose() }
    return answers
  }

  /// A transaction in two round trips: BEGIN with what is read first, and with COMMIT what `body` makes of that.
  /// - Parameter body: is given the answers to `queries` in order, and returns the last statements; it may run others, such
  ///   as a COPY, at once. It is synchronous and runs on the connection, so nothing interleaves with it.
  /// - Throws: what `body` throws, or a `PostgresError`; then nothing took effect, unless its `outcomeIsUnknown` is true.
  public func transaction(
    reading queries: [Query], _ body: @Sendable (isolated PostgresConnection, [ResultSet]) throws -> [Query]
  ) throws {
    do {
      let answers = try pipeline(["begin"] + queries, isAllOrNothing: true).map { try $0.get() }
      // The first statement that fails is the cause; those behind it, and the COMMIT, have no effect.
      let last = try body(self, Array(answers.dropFirst())) + ["commit"]
      for answer in try pipeline(last, isAllOrNothing: true) { _ = try answer.get() }
    } catch {
      rollBack()
      throw error
    }
  }

  /// Sends prepare (where needed), execute and sync.
  /// - Returns: whether it prepares.
  private func send(_ query: Query, _ raw: OpaquePointer) throws(PostgresError) -> Bool {
    let key = query.statementKey
    let known = statements[key]
    let name = known ?? newStatementName()
    var sent = true
    if known == nil {
      sent = PQsendPrepare(raw, name, query.sql, Int32(query.binds.count), query.oids) == 1
      statements[key] = name
    }
    sent =
      sent
      && withParameters(query.binds) { values, lengths, formats in
        PQsendQueryPrepared(raw, name, Int32(query.binds.count), values, lengths, formats, 1)
      } == 1
    guard sent, PQpipelineSync(raw) == 1, PQflush(raw) >= 0 else { throw PostgresError(.connectionLost, errorMessage) }
    return known == nil
  }

  private func receive(
    _ deadline: ContinuousClock.Instant
  ) throws(PostgresError) -> Result<ResultSet, PostgresError> {
    var failure: PostgresError?
    var answer: LibPQResult?
    // Between syncs: results of the prepare, nil, results of the execution, nil, and then the sync.
    while true {
      guard let result = try nextResult(deadline, cancellable: true) else {
        if PQstatus(try raw) == CONNECTION_BAD { throw PostgresError(.connectionLost, errorMessage) }
        continue
      }
      switch result.status {
      case PGRES_PIPELINE_SYNC:
        if let failure { return .failure(failure) }
        guard let answer else { throw PostgresError(.connectionLost, "the pipeline lost step") }
        return .success(ResultSet(answer))
      case PGRES_FATAL_ERROR: failure = failure ?? result.error
      case PGRES_PIPELINE_ABORTED: break
      default: answer = result
      }
    }
  }
}
