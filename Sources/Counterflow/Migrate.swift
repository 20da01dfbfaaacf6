import ArgumentParser
import CommerceReadModels
import Foundation
import Postgres
import PostgresEventStore
import Projections
import ServiceKit

/// Brings both databases' schemas to this build's version.
struct Migrate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings both databases' schemas to this build's version.",
    discussion: "Safe to run again, and from several processes at once. Run it before new services start.")

  @Option(help: "How long to wait for a database that does not answer yet, in seconds.")
  var wait = 30

  func validate() throws {
    guard (0...3600).contains(wait) else { throw ValidationError("--wait takes 0 to 3600 seconds") }
  }

  func run() async throws {
    do { try await migrate(Settings()) } catch let error as SettingError {
      FileHandle.standardError.write(Data("counterflow: \(error)\n".utf8))
      // EX_CONFIG of sysexits.h, as the services.
      throw ExitCode(78)
    }
  }

  private func migrate(_ settings: Settings) async throws {
    try await migrate("write store", try settings[CommonSettings.writeDatabaseURL], [eventStoreSchema])
    try await migrate(
      "read store", try settings[CommonSettings.readDatabaseURL], [projectionsSchema, readModelsSchema])
  }

  private func migrate(_ name: String, _ url: String, _ schemas: [Schema]) async throws {
    let connection = try await connect(url)
    for schema in schemas {
      let applied = try await connection.migrate(schema)
      for migration in applied { print("\(name): applied \(migration)") }
      if applied.isEmpty { print("\(name): \(schema.name) is at version \(schema.version) already") }
    }
    await connection.close()
  }

  private func connect(_ url: String) async throws -> PostgresConnection {
    let deadline = ContinuousClock.now + .seconds(wait)
    while true {
      do {
        return try await PostgresConnection.connect(PostgresConfiguration(url: url, applicationName: "counterflow"))
      } catch {
        guard error.isRetriable, ContinuousClock.now < deadline else { throw error }
        try await Task.sleep(for: .milliseconds(250))
      }
    }
  }
}
