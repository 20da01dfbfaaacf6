internal import CLibPQ

/// A statement of a transaction.
public enum Statement: Sendable {
  case query(Query)
  /// Stores many rows in a separate round trip; see `copyIn(into:columns:)`.
  case copy(into: String, columns: [(name: String, values: PostgresValue)])
}

extension PostgresConnection {
  /// Sends all `queries` without waiting in between, and collects their results in order: one round trip for all. Each
  /// query is its own transaction, so a failure does not affect the others, unless the queries are in a transaction or
  /// begin one.
  ///
  /// After `timeout`, or when the task is cancelled, the connection is dropped, because a cancel request cannot name
  /// one of the queries.
  /// - Throws: only errors that stop the whole pipeline; the error of a single query is in its result.
  public func pipeline(
    _ queries: [Query], timeout: Duration? = nil
  ) throws(PostgresError) -> [Result<ResultSet, PostgresError>] {
    try inPipeline(queries, timeout)
  }

  /// Runs a transaction in two round trips: one for the reads, one for the statements that `body` returns. Without
  /// reads, it takes one.
  /// - Parameter body: receives the results of `queries` in order.
  /// - Throws: the error of `body`, or a `PostgresError`; nothing took effect, unless its `outcomeIsUnknown` is true.
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
      // Without BEGIN, all queries before one sync are one transaction.
      _ = try together(isOpen ? last + ["commit"] : last)
    } catch {
      if isOpen { rollBack() }
      throw error
    }
  }

  /// Runs queries in one round trip. The first error is thrown, and no query after it takes effect. At the time limit
  /// the server is asked to stop too, so that a waiting statement releases its locks.
  private func together(_ queries: [Query]) throws(PostgresError) -> [ResultSet] {
    try inPipeline(queries, nil, areOne: true).map { answer throws(PostgresError) in try answer.get() }
  }

  /// - Parameter areOne: whether one sync follows all queries, not one each: a failure skips the rest, up to the next
  ///   sync.
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
          // If the prepare failed, or the statement is gone, its name must not be used again.
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

  /// Sends an execute, and a prepare before it if needed.
  /// - Returns: whether a prepare was sent.
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

  /// - Parameter failure: the error of an earlier query, which makes the server skip this one.
  private func receive(
    isPreparing: Bool, behind failure: PostgresError?, _ deadline: ContinuousClock.Instant
  ) throws(PostgresError) -> Result<ResultSet, PostgresError> {
    var failure = failure
    var answer: LibPQResult?
    // libpq returns the results of the prepare, nil, the results of the execution, nil.
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
