package import EventSourcing
internal import HTTPKit
package import SettingsKit

/// Settings that several executables share.
package enum CommonSettings {
  /// The settings of each of the four services.
  package static let ofEveryProcess =
    [
      HTTPSettings.host.description, shutdownTimeout.description, Setting.logLevel.description,
    ] + HTTPSettings.all + Observing.all

  /// `WRITE_DATABASE_URL`: the database of the write store.
  package static let writeDatabaseURL = Setting.postgresURL(
    "WRITE_DATABASE_URL",
    help: "The write store. Any parameter of libpq may follow, such as ?sslmode=verify-full.")

  /// `READ_DATABASE_URL`: the database of the read store.
  package static let readDatabaseURL = Setting.postgresURL(
    "READ_DATABASE_URL",
    help: "The read store. Any parameter of libpq may follow, such as ?sslmode=verify-full.")

  /// `CONSISTENCY_TOKEN_KEY`: the secret that signs consistency tokens.
  package static let consistencyTokenKey = Setting(
    "CONSISTENCY_TOKEN_KEY", default: nil, allowed: "32 bytes or more",
    help: "Signs Consistency-Token; a secret, the same for command-service and query-service.", isSecret: true
  ) { $0.utf8.count >= 32 ? $0 : nil }

  /// `DATABASE_POOL_SIZE`: the maximum number of connections to each database.
  package static let poolSize = Setting.integer(
    "DATABASE_POOL_SIZE", default: 8, in: 2...200, help: "The maximum number of connections to each database.")

  /// `DATABASE_TIMEOUT`: the time limit of one statement.
  package static let statementTimeout = Setting.seconds(
    "DATABASE_TIMEOUT", default: 10, in: 0.1...600, help: "The time limit of one statement, in seconds.")

  /// `DATABASE_ACQUIRE_TIMEOUT`: how long a request waits for a connection.
  package static let acquireTimeout = Setting.seconds(
    "DATABASE_ACQUIRE_TIMEOUT", default: 2, in: 0.1...60,
    help: "How long a request waits for a database connection, in seconds; then the response is 503.")

  /// `PARTITIONS`: the number of partitions of the live feed and of every projection.
  package static let partitions = Setting(
    "PARTITIONS", default: "16", allowed: "1, 2, 4, 8, 16, 32 or 64",
    help:
      "Partitions of the live feed and of every projection. Relay and projector must agree; a projector with another number builds the read tables anew beside those that serve."
  ) { text in Int(text).flatMap { Partitioning(count: $0) } }

  /// `LEASE_DURATION`: how long it takes until another worker takes over.
  package static let leaseDuration = Setting.seconds(
    "LEASE_DURATION", default: 5, in: 1...300,
    help: "How long it takes until another worker takes over from one that died, in seconds.")

  /// `SHUTDOWN_TIMEOUT`: how long a process may take to finish its work.
  package static let shutdownTimeout = Setting.seconds(
    "SHUTDOWN_TIMEOUT", default: 20, in: 1...600,
    help: "How long a process may take to finish its work after SIGTERM, in seconds.")
}
