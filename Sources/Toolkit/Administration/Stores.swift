internal import ArgumentParser
internal import Logging
internal import Observability
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import ServiceKit

/// Both stores, as the administrative subcommands use them.
struct Stores {
  let readStore: PostgresPool
  let writeStore: PostgresPool
  let readURL: String

  var events: PostgresEventStore { PostgresEventStore(writeStore) }

  init(_ settings: Settings = Settings()) throws {
    let program = Administration.current.program
    readURL = try settings[CommonSettings.readDatabaseURL]
    let logger = Logger(label: program) { StreamLogHandler(label: $0, stream: LogLines(), metadataProvider: nil) }
    let pool = { (url: String) in
      PostgresPool(
        // A busy server may take long to accept a connection, and a person can wait.
        PostgresConfiguration(
          url: url, applicationName: program, connectTimeout: .seconds(15), statementTimeout: .seconds(60)),
        limits: .init(size: 4, acquireTimeout: .seconds(30)), logger: logger)
    }
    readStore = pool(readURL)
    writeStore = pool(try settings[CommonSettings.writeDatabaseURL])
  }

  /// Returns the projections with these names; all if there are no names.
  func projections(_ names: [String]) throws -> [Projection] {
    let all = Administration.current.readModels(PersonalKeys(writeStore))
    for name in names where !all.contains(where: { $0.name == name }) {
      throw ValidationError(
        "there is no projection '\(name)'; there are: \(all.map(\.name).joined(separator: ", "))")
    }
    return all.filter { names.isEmpty || names.contains($0.name) }
  }
}
