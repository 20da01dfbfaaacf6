internal import CLibPQ

/// A statement of a transaction.
public enum Statement: Sendable {
  case query(Query)
  /// Stores many rows; see `copyIn(into:columns:)`. It has a round trip of its own.
  case copy(into: String, columns: [(name: String, values: PostgresValue)])
}

extension PostgresConnection {
  /// Sends all `queries` without waiting in between, and collects their answers in order: one round
  /// trip for all. Each is a transaction of its own, and one that fails does not touch the others; unless
  /// they are in a transaction, or begin one, by statements of their own.
  ///
  /// Past `timeout`, or when the task is cancelled, the connection is dropped, since a cancel request
  /// cannot say which of the queries it means.
  /// - Throws: only what stops the pipeline whole; a query's own failure is in its result.
  public func pipeline(
    _ queries: [Query], timeout: Duration? = nil
  ) throws(PostgresError) -> [Result<ResultSet, PostgresError>] {
    try inPipeline(queries, timeout)
  }

  /// A transaction in two round trips, one for what is read first and one for what `body` makes of that; where nothing is read
  /// first, in one.
  /// - Parameter body: is given the answers to `queries` in order.
  /// - Throws: what `body` throws, or a `PostgresError`; then nothing took effect, unless its `outcomeIsUnknown` is true.
  public func transaction(
    reading queries: [Query], _ body: @Sendable ([ResultSet]) throws -> [Statement]
  ) throws {
    var isOpen = false
    func begin(_ queries: [Query] = []) throws -> [ResultSet] {
      isOpen = true
      return Array(try together(["begin"] + queries).dropFirst())
    }
    do {
      var last: [Query] = []
      for statement in try body(queries.isEmpty ? [] : try begin(queries)) {
        switch statement {
        case .query(let query): last.append(query)
        case .copy(let table, let columns):
          if !isOpen { _ = try begin() }
          _ = try copyIn(into: table, columns: columns)
        }
      }
      // Without BEGIN, what is sent up to one sync is one transaction.
      _ = try together(isOpen ? last + ["commit"] : last)
    } catch {
      if isOpen { rollBack() }
      throw error
    }
  }

  /// One round trip in which nothing takes effect behind the first query that fails, whose error is thrown. Past its time the
  /// server is asked to stop too, so that a statement that waits there gives back what it has locked.
  private func together(_ queries: [Query]) throws(PostgresError) -> [ResultSet] {
    try inPipeline(queries, nil, areOne: true).map { answer throws(PostgresError) in try answer.get() }
  }

  /// - Parameter areOne: one sync follows all queries, and not one each: what is behind a failure is skipped up to the next.
  private func inPipeline(
    _ queries: [Query], _ timeout: Duration?, areOne: Bool = false
  ) throws(PostgresError) -> [Result<ResultSet, PostgresError>] {
    guard !queries.isEmpty else { return [] }
    let raw = try raw
    guard PQenterPipelineMode(raw) == 1 else { throw PostgresError(.misuse, errorMessage) }
    let deadline = ContinuousClock.now + (timeout ?? configuration.statementTimeout)
    let syncs = { (index: Int) in !areOne || index == queries.count - 1 }
    var answers: [Result<ResultSet, PostgresError>] = []
    do throws(PostgresError) {
      var arePreparing: [Bool] = []
      for (index, query) in queries.enumerated() {
        arePreparing.append(try send(query, raw))
        if syncs(index), PQpipelineSync(raw) != 1 { throw PostgresError(.connectionLost, errorMessage) }
      }
      guard PQflush(raw) >= 0 else { throw PostgresError(.connectionLost, errorMessage) }
      var failure: PostgresError?
      for (index, query) in queries.enumerated() {
        let answer = try receive(isPreparing: arePreparing[index], behind: failure, deadline)
        if case .failure(let error) = answer {
          failure = error
          // Should the prepare be what failed, or the statement be gone, its name is not used again.
          if arePreparing[index] || error.isStaleStatement { statements[query.statementKey] = nil }
        }
        answers.append(answer)
        guard syncs(index) else { continue }
        guard try nextResult(deadline, cancellable: true)?.status == PGRES_PIPELINE_SYNC else { throw outOfStep() }
        failure = nil
      }
    } catch {
      if areOne { requestCancel() }
      throw lose(error.code, error.message)
    }
    guard PQexitPipelineMode(raw) == 1 else { throw lose() }
    return answers
  }

  /// Sends prepare (where needed) and execute.
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
    guard sent else { throw PostgresError(.connectionLost, errorMessage) }
    return known == nil
  }

  /// - Parameter failure: of a query before, for which this one is skipped.
  private func receive(
    isPreparing: Bool, behind failure: PostgresError?, _ deadline: ContinuousClock.Instant
  ) throws(PostgresError) -> Result<ResultSet, PostgresError> {
    var failure = failure
    var answer: LibPQResult?
    // The results of the prepare, nil, those of the execution, nil.
    for _ in 0..<(isPreparing ? 2 : 1) {
      while let result = try nextResult(deadline, cancellable: true) {
        switch result.status {
        case PGRES_PIPELINE_SYNC: throw outOfStep()
        case PGRES_FATAL_ERROR: failure = failure ?? result.error
        case PGRES_PIPELINE_ABORTED: break
        default: answer = result
        }
      }
      if PQstatus(try raw) == CONNECTION_BAD { throw PostgresError(.connectionLost, errorMessage) }
    }
    if let failure { return .failure(failure) }
    guard let answer else { throw outOfStep() }
    return .success(ResultSet(answer))
  }

  private func outOfStep() -> PostgresError {
    PostgresError(.connectionLost, "the pipeline lost step: \(errorMessage)")
  }
}
