internal import EventSourcing
internal import Logging
internal import Machine
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import ServiceLifecycle

/// Ends the process at startup if the server could lose acknowledged data. Every append checks `fsync` and
/// `synchronous_commit` again.
struct DurabilityCheck: Service {
  let pool: PostgresPool
  let logger: Logger

  func run() async throws {
    try await cancelWhenGracefulShutdown {
      try await check()
      try? await gracefulShutdown()
    }
  }

  private func check() async throws {
    while !Task.isCancelled {
      let rows: [(String, String, String)]
      do {
        rows = try await pool.query(
          "select current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')"
        ).decode()
      } catch {
        logger.warning("the write store does not answer yet", metadata: ["error": "\(error)"])
        try? await Machine.sleep(for: .seconds(1))
        continue
      }
      guard let (fsync, pages, commit) = rows.first else { return }
      guard fsync == "on", pages == "on", commit != "off" else {
        throw UnsafeServer(
          description: """
            the write store's server may lose what it has confirmed: fsync is \(fsync), full_page_writes \(pages) and \
            synchronous_commit \(commit); set them to on
            """)
      }
      logger.info(
        "the write store confirms that its commits are durable", metadata: ["synchronous_commit": "\(commit)"])
      return
    }
  }
}

private struct UnsafeServer: Error, CustomStringConvertible {
  let description: String
}

/// How long idempotency keys are kept.
enum KeyRetention: Sendable {
  case unlimited
  case days(Int)
}

/// Removes idempotency keys whose retention has ended.
struct KeyForgetting: Service {
  static let interval = Duration.seconds(600)

  let store: PostgresEventStore
  let retention: KeyRetention
  let ofGenerated: KeyRetention
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        await forget(retention, generated: false)
        await forget(ofGenerated, generated: true)
        try? await Machine.sleep(for: Self.interval)
      }
    }
  }

  private func forget(_ retention: KeyRetention, generated: Bool) async {
    guard case .days(let days) = retention else { return }
    do {
      let count = try await store.forgetKeys(olderThan: .seconds(days * 86_400), generated: generated)
      Counter(label: "idempotency_keys_forgotten_total").increment(by: count)
    } catch { logger.warning("cannot remove expired idempotency keys", metadata: ["error": "\(error)"]) }
  }
}
