/// Brings events to a process soon after they were appended.
///
/// A feed may lose, repeat and delay messages: whoever receives them sees gaps by `FeedBatch.previous`, and reads the
/// store. So a feed makes the system fast, and never decides what is seen.
public protocol EventFeed: Sendable {
  /// Delivers messages until the task is cancelled. It reconnects by itself, with a back-off.
  func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async
}

/// Takes what a feed delivers.
public protocol FeedReceiver: Sendable {
  /// The partitions, by index, whose events are wanted at the moment.
  var wantedPartitions: Set<Int> { get }
  func connectionChanged(isConnected: Bool)
  /// - Parameter message: batches of wanted partitions. It must not wait.
  func receive(_ message: FeedMessage)
  /// A message was lost on the way, or cannot be read: the store has what was in it.
  func lost(_ error: any Error)
}
