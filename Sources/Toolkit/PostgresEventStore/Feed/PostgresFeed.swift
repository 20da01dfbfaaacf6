package import EventSourcing
internal import FoundationEssentials
package import Logging
package import Postgres

/// The live feed without a broker: each process reads the new events from the write store itself.
///
/// It is for one process, or a few: the write store sends every event once to each of them. Where LISTEN is not
/// possible, as on a standby or behind a transaction pooler, the feed polls the store.
package struct PostgresFeed: EventFeed {
  private let pool: PostgresPool
  private let settings: StoreFollower.Settings
  private let logger: Logger

  /// - Parameters:
  ///   - writeStore: a pool on the write store. The feed takes a connection for each read, and opens another one to
  ///     listen.
  ///   - pollInterval: how often the feed reads the store without a notification.
  ///   - gatherTime: the shortest time between the starts of two reads: events that are appended meanwhile are read
  ///     together. The first event after a pause is read at once.
  package init(
    _ writeStore: PostgresPool, pollInterval: Duration = .milliseconds(500), gatherTime: Duration = .milliseconds(8),
    logger: Logger
  ) {
    pool = writeStore
    var settings = StoreFollower.Settings()
    (settings.pollInterval, settings.gatherTime) = (pollInterval, gatherTime)
    self.settings = settings
    self.logger = logger
  }

  package func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    await StoreFollower(pool, partitioning, settings, logger: logger).run(Sink(receiver: receiver))
    receiver.connectionChanged(isConnected: false)
  }

  private struct Sink<Receiver: FeedReceiver>: StoreSink {
    let receiver: Receiver

    func begins(at head: Position) { receiver.connectionChanged(isConnected: true) }
    func failed() { receiver.connectionChanged(isConnected: false) }

    func take(_ events: [RecordedEvent], as messages: [FeedMessage], in historyID: UUID) {
      let wanted = receiver.wantedPartitions
      for message in messages {
        let batches = message.batches.filter { wanted.contains($0.partition.index) }
        if !batches.isEmpty { receiver.receive(FeedMessage(batches)) }
      }
    }
  }
}
