internal import CLibPQ

extension PostgresConnection {
  /// How many rounds of statements look for a pooler that shares server connections. One round finds it if nobody else
  /// uses the pooler, and a busy one gives out other server connections in almost every round.
  private static let poolerRounds = 5

  /// Refuses a pooler that gives each transaction another server connection, such as PgBouncer with
  /// `pool_mode = transaction`: prepared statements, SET and LISTEN would be lost, or meet those of other clients.
  ///
  /// A pooler sends a process id of its own when a client connects. If that differs from the server's, two connections
  /// look at their servers in turn. With a server connection for each session, both always see their own.
  /// - Throws: `connectionFailed` with what to change, or what `connect` throws.
  func refuseTransactionPooling() async throws(PostgresError) {
    let deadline = ContinuousClock.now + configuration.connectTimeout
    let server = try serverProcessID(by: deadline)
    guard server != Int(backendProcessID) else { return }
    let host = PostgresConfiguration.host(ofURL: configuration.url)
    let other: Int
    do throws(PostgresError) {
      let second = try await Self.opened(configuration)
      other = try await second.serverProcessID(by: deadline)
      for round in 0..<Self.poolerRounds * 3 {
        // Two of three looks are this connection's: taken in turn, each might get the same of two server connections.
        let isConsistent =
          round % 3 == 1
          ? try await second.serverProcessID(by: deadline) == other
          : try serverProcessID(by: deadline) == server
        guard isConsistent, other != server else {
          await second.close()
          throw PostgresError(
            .connectionFailed,
            """
            the pooler at \(host) pools transactions, and this process needs sessions: set pool_mode = session for this \
            database, or connect to PostgreSQL itself
            """)
        }
      }
      await second.close()
    } catch {
      guard error.code == .timeout else { throw error }
      throw PostgresError(
        .connectionFailed,
        """
        the pooler at \(host) has no server connection for a second session, which shows whether it pools transactions: \
        raise its default_pool_size above the number of connections of all processes
        """)
    }
  }

  /// Asks the server that executes the statement. An unnamed statement takes one transaction.
  private func serverProcessID(by deadline: ContinuousClock.Instant) throws(PostgresError) -> Int {
    let results = try exchange(deadline, cancellable: true) {
      PQsendQueryParams($0, "select pg_catalog.pg_backend_pid()::bigint", 0, nil, nil, nil, nil, 1)
    }
    guard let result = results.last else { throw lose() }
    return try ResultSet(result).value(Int.self)
  }
}
