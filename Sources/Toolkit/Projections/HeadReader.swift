internal import EventSourcing
internal import FoundationEssentials
internal import Machine

/// Reads the store's heads once for all lanes that ask at about the same time.
actor HeadReader {
  struct Heads: Sendable {
    let historyID: UUID
    /// The head of every partition, in order.
    let heads: [PartitionHead]
  }

  /// How long the first caller waits for others.
  private static let pause = Duration.milliseconds(2)

  private let log: any EventLog
  private let partitioning: Partitioning
  /// A read that has not begun: callers that come now share its result.
  private var next: Task<Heads, any Error>?

  init(_ log: any EventLog, _ partitioning: Partitioning) {
    self.log = log
    self.partitioning = partitioning
  }

  /// Returns the store's heads at the time of the call or later, never earlier ones.
  func read() async throws -> Heads {
    if let next { return try await next.value }
    let look = Task {
      try? await Machine.sleep(for: Self.pause)
      self.next = nil
      return Heads(historyID: try await log.historyID(), heads: try await log.heads(of: partitioning))
    }
    next = look
    return try await look.value
  }
}
