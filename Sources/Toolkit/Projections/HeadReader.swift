internal import EventSourcing
internal import FoundationEssentials
internal import PostgresEventStore

/// Reads where the store ends, for all lanes that ask at about the same time at once.
actor HeadReader {
  struct Heads: Sendable {
    let historyID: UUID
    /// Of every partition, in order.
    let heads: [PartitionHead]
  }

  /// How long the first one waits for others.
  private static let pause = Duration.milliseconds(2)

  private let store: PostgresEventStore
  private let partitioning: Partitioning
  /// A look that has not begun: who asks now may have its answer.
  private var next: Task<Heads, any Error>?

  init(_ store: PostgresEventStore, _ partitioning: Partitioning) {
    self.store = store
    self.partitioning = partitioning
  }

  /// Where the store ends at this moment or later: never as it was before the call.
  func read() async throws -> Heads {
    if let next { return try await next.value }
    let look = Task {
      try? await Task.sleep(for: Self.pause)
      self.next = nil
      return Heads(historyID: try await store.historyID(), heads: try await store.heads(of: partitioning))
    }
    next = look
    return try await look.value
  }
}
