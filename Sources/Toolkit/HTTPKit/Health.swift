package import Hummingbird
internal import JSON
internal import Logging
internal import Machine

/// A condition that must hold for a process to be ready.
public struct HealthCheck: Sendable {
  /// The name that `/readyz` lists if the condition does not hold.
  public let name: String
  /// Throws an error with the reason if the condition does not hold.
  package let check: @Sendable () async throws -> Void

  /// Creates a condition.
  /// - Parameters:
  ///   - name: The name that `/readyz` lists if the condition does not hold.
  ///   - check: Throws an error with the reason if the condition does not hold; clients see the reason of a `NotReady`.
  public init(_ name: String, _ check: @escaping @Sendable () async throws -> Void) {
    self.name = name
    self.check = check
  }
}

/// The reason why a process is not ready. Every client may see it.
public struct NotReady: Error, CustomStringConvertible {
  public let description: String
  /// Creates a reason.
  public init(_ reason: String) { description = reason }
}

extension Router {
  /// Adds `/healthz` (the process is alive) and `/readyz` (its servers answer and their schemas match).
  package func addHealth(_ checks: [HealthCheck]) {
    get("/healthz") { _, _ in Response.json(JSON.object([.init("status", "alive")]).encoded) }
    let readiness = Readiness(checks)
    get("/readyz") { _, context in
      let failures = await readiness.failures(context.logger)
      guard failures.isEmpty else {
        throw Problem(
          .serviceUnavailable, "not-ready", title: "Not ready",
          detail: "A service that this process needs is not available.",
          extensions: [.init("failures", .object(failures))], headers: [.retryAfter: "1"], isLogged: false)
      }
      return Response.json(JSON.object([.init("status", "ready")]).encoded)
    }
  }
}

/// Runs the checks at most once a second, however many clients ask.
private actor Readiness {
  private let checks: [HealthCheck]
  private var last: (at: ContinuousClock.Instant, look: Task<[JSON.Member], Never>)?

  init(_ checks: [HealthCheck]) { self.checks = checks }

  /// Returns the checks that fail, with the reasons.
  func failures(_ logger: Logger) async -> [JSON.Member] {
    if let last, Machine.now - last.at < .seconds(1) { return await last.look.value }
    let look = Task { [checks] in await Self.look(checks, logger) }
    last = (Machine.now, look)
    return await look.value
  }

  private static func look(_ checks: [HealthCheck], _ logger: Logger) async -> [JSON.Member] {
    await withTaskGroup(of: JSON.Member?.self) { group in
      for check in checks {
        group.addTask {
          do { try await check.check() } catch let error as NotReady {
            return JSON.Member(check.name, .string(error.description))
          } catch {
            // Every client may ask, and a server's message may name hosts and roles: only the log gets it.
            logger.warning("not ready", metadata: ["check": "\(check.name)", "error": "\(error)"])
            return JSON.Member(check.name, "it does not answer as it should; the log says more")
          }
          return nil
        }
      }
      return await group.reduce(into: []) { failures, failure in
        if let failure { failures.append(failure) }
      }
    }
  }
}
