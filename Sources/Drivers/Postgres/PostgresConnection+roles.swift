internal import CLibPQ
import Glibc

extension PostgresConnection {
  /// Allows a role to log in. The password is hashed here (SCRAM-SHA-256), so the server's log does not contain it.
  public func allowLogin(_ role: String, password: String) throws(PostgresError) {
    let raw = try raw
    guard let hashed = PQencryptPasswordConn(raw, password, role, "scram-sha-256") else {
      throw PostgresError(.misuse, errorMessage)
    }
    defer { PQfreemem(hashed) }
    // ALTER ROLE takes no parameters, so the server quotes both by its own rules.
    let statement = try query(
      "select format('alter role %I login password %L', \(role), \(String(cString: hashed)))"
    ).value(String.self)
    // Roles belong to the whole server: a migration of another database may change the same role at this moment.
    for attempt in 1... {
      do throws(PostgresError) { return try execute(statement) } catch {
        guard attempt < 20, error.message.contains("concurrently") else { throw error }
        // On the thread of this connection, which has nothing else to do.
        usleep(UInt32.random(in: 1_000...50_000))
      }
    }
  }
}
