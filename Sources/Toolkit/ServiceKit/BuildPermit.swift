internal import HTTPKit
internal import Hummingbird
internal import Logging
internal import Machine
internal import ServiceLifecycle
internal import Synchronization

/// Whether this build may run beside the databases' schemas, which a newer build may have migrated.
///
/// A process that may not at its start only says why, at `/readyz`: none of its services runs. If that changes, in either
/// direction, while the process runs, the process ends, and whatever supervises it starts it again.
final class BuildPermit: Service {
  private static let interval = Duration.seconds(5)
  /// How long the start waits for the databases.
  private static let patience = Duration.seconds(2)

  private let checks: [@Sendable () async throws -> String?]
  private let logger: Logger
  private let reason = Mutex<String?>(nil)

  init(_ checks: [HealthCheck], logger: Logger) {
    (self.checks, self.logger) = (checks.compactMap(\.refusal), logger)
  }

  /// Looks once. A database that does not answer refuses nobody: `run` looks again.
  func isGiven() async -> Bool {
    let found = await withTaskGroup(of: String?.self) { group in
      group.addTask { await self.look() }
      group.addTask {
        try? await Machine.sleep(for: Self.patience)
        return nil
      }
      defer { group.cancelAll() }
      return await group.next() ?? nil
    }
    reason.withLock { $0 = found }
    if let found {
      logger.critical(
        "this version may not run beside the database's schema, and does nothing", metadata: ["reason": "\(found)"])
    }
    return found == nil
  }

  func run() async throws {
    let before = reason.withLock { $0 }
    try await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        let now = await self.look()
        switch (before, now) {
        case (nil, let reason?): throw PermitChanged(description: reason)
        case (_?, nil) where await self.isCertain():
          throw PermitChanged(description: "this version may run again, and ends in order to start anew")
        default: break
        }
        try? await Machine.sleep(for: Self.interval)
      }
    }
  }

  /// Answers every other request with 503.
  func refuseRequests(to router: Router<ServiceContext>) {
    let methods: [HTTPRequest.Method] = [.get, .post, .put, .patch, .delete]
    for method in methods {
      router.on("**", method: method) { _, _ -> Response in
        throw Problem.unavailable(
          "This process is too old for the database; /readyz says more.", retryAfter: 5, isLogged: false)
      }
    }
  }

  /// Returns the first reason; nil if there is none, or no database answers.
  private func look() async -> String? {
    for check in checks {
      do { if let reason = try await check() { return reason } } catch {
        // The readiness checks ask the same databases, and log it.
        logger.debug("cannot see who may run", metadata: ["error": "\(error)"])
      }
    }
    return nil
  }

  /// Whether every database answers that this build may run.
  private func isCertain() async -> Bool {
    for check in checks { do { if try await check() != nil { return false } } catch { return false } }
    return true
  }
}

private struct PermitChanged: Error, CustomStringConvertible {
  let description: String
}
