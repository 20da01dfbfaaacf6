package import Hummingbird
internal import JSON
internal import Logging
internal import Machine

/// A condition that must hold for a process to be ready.
public struct HealthCheck: Sendable {
  /// The name that `/readyz` lists if the condition does not hold.
  public let name: String
  /// Returns what `/readyz` says beside `ready`, if there is anything. Throws an error with the reason if the condition does
  /// not hold.
  package let check: @Sendable () async throws -> String?
  /// Returns why the process must not do anything at all; nil if it may.
  package var refusal: (@Sendable () async throws -> String?)?

  /// Creates a condition.
  /// - Parameters:
  ///   - name: The name that `/readyz` lists if the condition does not hold.
  ///   - check: Throws an error with the reason if the condition does not hold; clients see the reason of a `NotReady`.
  public init(_ name: String, _ check: @escaping @Sendable () async throws -> Void) {
    self.init(
      name: name,
      check: {
        try await check()
        return nil
      })
  }

  /// Creates a condition that says more than that it holds.
  /// - Parameters:
  ///   - name: The name that `/readyz` lists with the answer, or with the reason if the condition does not hold.
  ///   - check: Returns what `/readyz` says; throws as above.
  package static func saying(
    _ name: String, _ check: @escaping @Sendable () async throws -> String
  ) -> HealthCheck { HealthCheck(name: name, check: { try await check() }) }

  /// Returns the same condition with another name.
  package func named(_ name: String) -> HealthCheck { HealthCheck(name: name, check: check, refusal: refusal) }

  private init(
    name: String, check: @escaping @Sendable () async throws -> String?,
    refusal: (@Sendable () async throws -> String?)? = nil
  ) {
    (self.name, self.check, self.refusal) = (name, check, refusal)
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
      let (failures, details) = await readiness.look(context.logger)
      guard failures.isEmpty else {
        throw Problem(
          .serviceUnavailable, "not-ready", title: "Not ready",
          detail: "A service that this process needs is not available.",
          extensions: [.init("failures", .object(failures))], headers: [.retryAfter: "1"], isLogged: false)
      }
      return Response.json(JSON.object([.init("status", "ready")] + details).encoded)
    }
  }
}

/// Runs the checks at most once a second, however many clients ask.
private actor Readiness {
  /// The checks that fail, with the reasons, and what the others say.
  typealias Findings = (failures: [JSON.Member], details: [JSON.Member])

  private let checks: [HealthCheck]
  private var last: (at: ContinuousClock.Instant, look: Task<Findings, Never>)?

  init(_ checks: [HealthCheck]) { self.checks = checks }

  func look(_ logger: Logger) async -> Findings {
    if let last, Machine.now - last.at < .seconds(1) { return await last.look.value }
    let look = Task { [checks] in await Self.look(checks, logger) }
    last = (Machine.now, look)
    return await look.value
  }

  private static func look(_ checks: [HealthCheck], _ logger: Logger) async -> Findings {
    await withTaskGroup(of: (isFailure: Bool, what: JSON.Member?).self) { group in
      for check in checks {
        group.addTask {
          do {
            return (false, try await check.check().map { JSON.Member(check.name, .string($0)) })
          } catch let error as NotReady {
            return (true, JSON.Member(check.name, .string(error.description)))
          } catch {
            // Every client may ask, and a server's message may name hosts and roles: only the log gets it.
            logger.warning("not ready", metadata: ["check": "\(check.name)", "error": "\(error)"])
            return (true, JSON.Member(check.name, "it does not answer as it should; the log says more"))
          }
        }
      }
      return await group.reduce(into: ([], [])) { findings, finding in
        guard let what = finding.what else { return }
        if finding.isFailure { findings.failures.append(what) } else { findings.details.append(what) }
      }
    }
  }
}
