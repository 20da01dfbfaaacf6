internal import EventLoop
internal import EventSourcing
internal import Logging
internal import Metrics
internal import Synchronization

// Takes messages from the live feed.
extension Projector {
  /// Checks that the live feed is connected.
  /// - Throws: an error if it is not. Read models then follow by reading the write store alone.
  package func checkFeed() throws {
    guard isConnected.value.load(ordering: .relaxed) else { throw FeedDisconnected() }
  }

  /// Hands every message to every lane that wants it.
  func receive() async { await feed.run(settings.partitioning, to: Receiver(projector: self)) }

  private struct Receiver: FeedReceiver {
    let projector: Projector

    var wantedPartitions: Set<Int> { projector.workerGroup.wanted }

    func connectionChanged(isConnected: Bool) { projector.isConnected.value.store(isConnected, ordering: .relaxed) }

    func receive(_ message: FeedMessage) {
      let mailboxes = projector.workerGroup.mailboxes.filter { $0.wants(message) }
      // The lanes write the results of one message in one round.
      projector.rounds.expect(mailboxes.map { ObjectIdentifier($0) })
      for mailbox in mailboxes {
        projector.dropped.increment(by: mailbox.offer(message))
        mailbox.wakeup.signal()
      }
    }

    func lost(_ error: any Error) {
      projector.logger.error(
        "a message cannot be decoded; reads the events from the store instead", metadata: ["error": "\(error)"])
      projector.dropped.increment()
    }
  }
}

final class Flag: Sendable {
  let value = Atomic(false)
}

struct FeedDisconnected: Error, CustomStringConvertible {
  let description = "the live feed is not connected; the store is read instead"
}
