internal import ArgumentParser
internal import Failures
internal import Foundation
internal import Machine
internal import Postgres
internal import SettingsKit

/// Ends the command like a service if a setting is missing or wrong.
package func reportingSettings(_ body: () async throws -> Void) async throws {
  do { try await body() } catch let error as SettingError {
    FileHandle.standardError.write(Data("\(Administration.current.program): \(error)\n".utf8))
    // EX_CONFIG of sysexits.h, as in the services.
    throw ExitCode(78)
  }
}

/// Connects, and waits for a database that does not answer yet.
func connectPatiently(_ configuration: PostgresConfiguration, for patience: Duration) async throws -> PostgresConnection
{
  let deadline = Machine.now + patience
  while true {
    do {
      return try await PostgresConnection.connect(configuration)
    } catch {
      guard error.failureKind == .retry, Machine.now < deadline else { throw error }
      try await Machine.sleep(for: .milliseconds(250))
    }
  }
}
