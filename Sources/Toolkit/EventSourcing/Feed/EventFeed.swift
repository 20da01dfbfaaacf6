/// Delivers events to a process soon after they are appended.
///
/// A feed may lose, repeat and delay messages. Receivers see gaps by `FeedBatch.previous`, and read the missing events
/// from the store. A feed makes the system fast; correctness does not depend on it.
package protocol EventFeed: Sendable {
  /// Delivers messages until the task is cancelled. It reconnects by itself, with back-off.
  func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async
}

/// Receives the messages of a feed.
package protocol FeedReceiver: Sendable {
  /// The indexes of the partitions whose events the receiver wants now.
  var wantedPartitions: Set<Int> { get }
  /// Takes note that the connection to the feed was made or lost. It must not wait.
  /// - Parameter isConnected: Whether messages arrive from now on.
  func connectionChanged(isConnected: Bool)
  /// Takes a message. It must not wait.
  /// - Parameter message: Batches of wanted partitions.
  func receive(_ message: FeedMessage)
  /// A message was lost, or cannot be read. The store has its events.
  func lost(_ error: any Error)
}
