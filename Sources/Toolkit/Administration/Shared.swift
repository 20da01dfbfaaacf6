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

/// Connects, and waits for a database that does not answer yet. Standard error gets a line when the wait begins: waiting
/// does not help if the URL is wrong, and libpq has no SQLSTATE that would tell these cases apart.
func connectPatiently(_ configuration: PostgresConfiguration, for patience: Duration) async throws -> PostgresConnection
{
  let deadline = Machine.now + patience
  var isWaiting = false
  while true {
    do {
      return try await PostgresConnection.connect(configuration)
    } catch {
      guard error.failureKind == .retry, Machine.now < deadline else { throw error }
      if !isWaiting { sayWaiting(for: patience, after: error) }
      isWaiting = true
      try await Machine.sleep(for: .milliseconds(250))
    }
  }
}

private func sayWaiting(for patience: Duration, after error: PostgresError) {
  let lines = error.message.split(whereSeparator: \.isNewline)
  let reason = lines.map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ")
  let line = "\(OperatorProgram.name): cannot connect yet, trying for \(patience.components.seconds) s: \(reason)\n"
  FileHandle.standardError.write(Data(line.utf8))
}
