internal import CommerceStore
internal import HTTPKit
internal import Logging
internal import Postgres
internal import ServiceLifecycle
internal import SettingsKit
internal import Synchronization

/// Compares CURRENCY with the store's currency, which the first start stores. If they differ, the process ends, because
/// sums would mix currencies. Commands get 503 until the comparison is done.
final class CurrencyCheck: Service {
  let currency: String
  private let pool: PostgresPool
  private let logger: Logger
  private let isConfirmed = Atomic(false)
  private let differences = AsyncStream.makeStream(of: SettingError.self, bufferingPolicy: .bufferingOldest(1))

  init(_ currency: String, _ pool: PostgresPool, logger: Logger) {
    self.currency = currency
    self.pool = pool
    self.logger = logger
  }

  /// - Throws: `Problem` (503) until CURRENCY is confirmed.
  func requireConfirmed() throws(Problem) {
    guard isConfirmed.load(ordering: .relaxed) else {
      throw .unavailable("The store's currency is not known yet; nothing was stored. Try again in a moment.")
    }
  }

  /// Compares again, because the store may have been replaced by another.
  var healthCheck: HealthCheck {
    HealthCheck("currency") { [self] in
      guard try await isTheStores() else {
        throw NotReady("CURRENCY is not the store's currency; the log says more")
      }
    }
  }

  func run() async throws {
    try await cancelWhenGracefulShutdown { [self] in
      while !Task.isCancelled, !isConfirmed.load(ordering: .relaxed) {
        do {
          guard try await isTheStores() else { break }
        } catch {
          logger.warning("the store's currency is not known yet", metadata: ["error": "\(error)"])
          // Nothing signals that the store is back. Once a second is no load, so a longer pause would only delay the start.
          try? await Task.sleep(for: .seconds(1))
        }
      }
      for await difference in differences.stream { throw difference }
    }
  }

  private func isTheStores() async throws -> Bool {
    let known = try await StoreCurrency.establish(currency, pool)
    let isTheSame = known == currency
    isConfirmed.store(isTheSame, ordering: .relaxed)
    if !isTheSame {
      differences.continuation.yield(
        SettingError(
          StoreCurrency.setting,
          "is '\(currency)' while the write store's prices are in \(known): set CURRENCY=\(known), or have "
            + "WRITE_DATABASE_URL name another store"))
    }
    return isTheSame
  }
}
