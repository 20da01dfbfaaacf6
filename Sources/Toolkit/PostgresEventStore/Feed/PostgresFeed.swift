internal import EventLoop
package import EventSourcing
internal import FoundationEssentials
package import Logging
package import Postgres
internal import Synchronization

/// The live feed without a broker: each process reads the new events from the write store itself, once for all its receivers.
///
/// It is for one process, or a few: the write store sends every event once to each of them. Where LISTEN is not
/// possible, as on a standby, the feed polls the store.
package final class PostgresFeed: EventFeed {
  private struct Subscription: Sendable {
    let id: Int
    let partitioning: Partitioning
    let receiver: any FeedReceiver
  }

  private struct State {
    var subscriptions: [Subscription] = []
    var nextID = 0
    /// Reads for all subscriptions.
    var reading: Task<Void, Never>?
  }

  private let follower: @Sendable ([Partitioning]) -> StoreFollower
  private let state = Mutex(State())

  /// - Parameters:
  ///   - writeStore: a pool on the write store. The feed takes a connection for each read, and opens another one to
  ///     listen.
  ///   - pollInterval: how often the feed reads the store without a notification.
  ///   - gatherTime: the shortest time between the starts of two reads: events that are appended meanwhile are read
  ///     together. The first event after a pause is read at once.
  package init(
    _ writeStore: PostgresPool, pollInterval: Duration = .milliseconds(500),
    gatherTime: Duration = StoreFollower.Settings().gatherTime, logger: Logger
  ) {
    var settings = StoreFollower.Settings()
    (settings.pollInterval, settings.gatherTime) = (pollInterval, gatherTime)
    follower = { [settings] in StoreFollower(writeStore, $0, settings, logger: logger) }
  }

  /// - Parameter follower: reads the store for receivers with these partitionings.
  package init(follower: @escaping @Sendable ([Partitioning]) -> StoreFollower) { self.follower = follower }

  /// When a receiver comes or goes, the others may miss some messages.
  package func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    let id = state.withLock { state in
      defer { state.nextID += 1 }
      state.subscriptions.append(Subscription(id: state.nextID, partitioning: partitioning, receiver: receiver))
      restart(&state)
      return state.nextID
    }
    let cancelled = Wakeup()
    while !Task.isCancelled { await cancelled.wait(upTo: .seconds(3_600)) }
    let before = state.withLock { state in
      state.subscriptions.removeAll { $0.id == id }
      return restart(&state)
    }
    await before?.value
    receiver.connectionChanged(isConnected: false)
  }

  /// - Returns: the reading that is replaced. It ends soon.
  @discardableResult
  private func restart(_ state: inout State) -> Task<Void, Never>? {
    let (before, subscriptions) = (state.reading, state.subscriptions)
    before?.cancel()
    // Unstructured, since several calls of `run` share it. The last one that ends leaves none.
    state.reading =
      subscriptions.isEmpty
      ? nil
      : Task { [follower] in
        await before?.value
        await follower(subscriptions.map(\.partitioning)).run(Sink(subscriptions: subscriptions))
      }
    return before
  }

  private struct Sink: StoreSink {
    let subscriptions: [Subscription]

    func begins(at head: Position) { connectionChanged(isConnected: true) }
    func failed() { connectionChanged(isConnected: false) }

    private func connectionChanged(isConnected: Bool) {
      for subscription in subscriptions { subscription.receiver.connectionChanged(isConnected: isConnected) }
    }

    func take(_ events: [RecordedEvent], as messages: [[FeedMessage]], in historyID: UUID) {
      for (subscription, messages) in zip(subscriptions, messages) {
        let wanted = subscription.receiver.wantedPartitions
        for message in messages {
          let batches = message.batches.filter { wanted.contains($0.partition.index) }
          if !batches.isEmpty { subscription.receiver.receive(FeedMessage(batches)) }
        }
      }
    }
  }
}
