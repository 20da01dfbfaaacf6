internal import HTTPKit
internal import Logging
internal import Postgres
internal import Projections
internal import QueryKit
internal import Synchronization

/// Reads the state of the read models from the read store, and that of the reactions from the write store.
final class ProjectionWatch: Sendable {
  struct Picture: Sendable {
    /// By name.
    let projections: [ProjectionOverview.Entry]
    /// The oldest ones.
    let parked: [ParkedStream]
    let parkedCount: Int
  }

  /// The maximum number of parked streams that are shown, of each store.
  private static let parkedLimit = 50

  private let readStore: ReadStore
  private let writeStore: PostgresPool
  private let logger: Logger
  private let failing = Mutex<Set<String>>([])

  init(_ readStore: ReadStore, writeStore: PostgresPool, logger: Logger) {
    (self.readStore, self.writeStore, self.logger) = (readStore, writeStore, logger)
  }

  /// - Parameter ofReactions: whether to read the reactions, or the read models.
  /// - Returns: nil if the store does not answer.
  func read(ofReactions: Bool) async -> Picture? {
    let store = ofReactions ? "write" : "read"
    do {
      let pool = ofReactions ? writeStore : try readStore.server(for: []).access.byKey
      let projections = try await ProjectionOverview.read(pool, ofReactions: ofReactions)
      let (parked, count) = try await ParkedStreams(pool, ofReactions: ofReactions).first(Self.parkedLimit)
      failing.withLock { _ = $0.remove(store) }
      return Picture(projections: projections.entries, parked: parked, parkedCount: count)
    } catch {
      // It is asked each second: the log has the first failure.
      if failing.withLock({ $0.insert(store).inserted }) {
        logger.warning(
          "the console cannot read the state of the projections", metadata: ["store": "\(store)", "error": "\(error)"])
      }
      return nil
    }
  }

  /// Asks for one parked stream to be tried again.
  /// - Throws: a `Problem` (404) if it is not parked; what the stores throw.
  func retry(_ projection: String, _ stream: String) async throws {
    // Standbys reject writes, so try the servers until one accepts it.
    let pools = Projection.isReaction(projection) ? [writeStore] : try readStore.servers.map { try $0.access.byKey }
    var failure: (any Error)?
    for pool in pools {
      do {
        guard try await ParkedStreams(pool).retry(projection, stream) > 0 else {
          throw Problem.notFound("\(stream) does not wait in \(projection).")
        }
        return
      } catch let problem as Problem { throw problem } catch { failure = error }
    }
    throw failure ?? Problem.unavailable("No read server takes writes.")
  }
}
