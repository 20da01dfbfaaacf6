internal import Logging
internal import Machine
internal import Postgres
internal import PostgresEventStore
internal import ServiceLifecycle

/// Copies erasures of personal data from the write store to the log in the read store, so that they survive a restore of
/// the write store. It depends on no read model: it goes on while projections are rebuilt, halted or parked.
struct ErasureCopying: Service {
  /// An erasure is in the log about that long after its event.
  private static let interval = Duration.seconds(1)

  private let erasures: Erasures
  private let log: ErasureLog
  private let logger: Logger

  init(from writeStore: PostgresPool, to readStore: PostgresPool, logger: Logger) {
    (erasures, log, self.logger) = (Erasures(writeStore), ErasureLog(readStore), logger)
  }

  func run() async throws {
    await cancelWhenGracefulShutdown {
      var isFailing = false
      while !Task.isCancelled {
        do {
          let count = try await log.copy(from: erasures)
          if isFailing { logger.info("erasures are logged in the read store again", metadata: ["new": "\(count)"]) }
          isFailing = false
        } catch {
          // Once for each outage. The stores' own failures are reported by the projector, too.
          if !isFailing && !Task.isCancelled {
            logger.warning(
              "erasures of personal data cannot be logged in the read store, and a restore of the write store would undo new ones; trying again",
              metadata: ["error": "\(error)"])
          }
          isFailing = true
        }
        try? await Machine.sleep(for: Self.interval)
      }
    }
  }
}
