internal import EventLoop
internal import EventSourcing
internal import FoundationEssentials
internal import Machine
internal import RabbitMQFeed

/// A message broker that may drop, repeat, reorder and delay messages, and lose its queues.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Broker: Server, @unchecked Sendable {
  /// What goes wrong with messages.
  struct Faults: Sendable {
    var lost = 0.0
    var repeated = 0.0
    var late = 0.0
  }

  var faults = Faults()
  private var chance: SeededChance
  private var queues: [Int: @Sendable (FeedMessage) -> Void] = [:]
  private var queuesMade = 0

  init(seed: UInt64) {
    chance = SeededChance(seed: seed, for: "broker")
    super.init("broker")
  }

  /// Returns the name of a queue that is to be made.
  fileprivate func nextQueue() -> Int {
    queuesMade += 1
    return queuesMade
  }

  fileprivate func makeQueue(_ id: Int, _ deliver: @escaping @Sendable (FeedMessage) -> Void) { queues[id] = deliver }

  /// Queues go with the connections that made them.
  override func dropConnections() {
    super.dropConnections()
    queues = [:]
  }

  fileprivate func deleteQueue(_ id: Int) { queues[id] = nil }

  /// Loses all queues, while their consumers notice nothing until their next check.
  func wipe() { queues = [:] }

  fileprivate func has(_ id: Int) -> Bool { queues[id] != nil }

  /// - Returns: how many messages reached no queue.
  fileprivate func publish(_ messages: [FeedMessage]) -> Int {
    for id in queues.keys.sorted() {
      guard let deliver = queues[id] else { continue }
      for message in messages where !chance.happens(faults.lost) {
        for _ in 0..<(chance.happens(faults.repeated) ? 2 : 1) {
          let delay = chance.happens(faults.late) ? chance.duration(.milliseconds(1)...(.seconds(2))) : .zero
          Scheduler.shared.call(at: Scheduler.shared.time + delay) { deliver(message) }
        }
      }
    }
    return queues.isEmpty ? messages.count : 0
  }
}

/// The live feed of one process, over a link to the broker.
struct SimulatedFeed: EventFeed {
  /// How often the queue is looked for, in case it was deleted.
  private static let upkeep = Duration.seconds(5)

  private let link: Link
  private let broker: Broker

  init(_ link: Link, _ broker: Broker) { (self.link, self.broker) = (link, broker) }

  func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    guard let host = link.host else { return }
    let broker = broker
    var backoff = Backoff()
    while !Task.isCancelled {
      do {
        let generation = broker.generation
        let queue = broker.nextQueue()
        defer { broker.deleteQueue(queue) }
        try await link.ask { [link] in
          broker.makeQueue(queue) { message in
            guard !link.isBroken else { return }
            host.call(at: host.now + .microseconds(200)) {
              let wanted = receiver.wantedPartitions
              let batches = message.batches.filter { wanted.contains($0.partition.index) }
              if !batches.isEmpty { receiver.receive(FeedMessage(batches)) }
            }
          }
        }
        receiver.connectionChanged(isConnected: true)
        backoff.reset()
        var nextUpkeep = Machine.now + Self.upkeep
        while broker.isUp, broker.generation == generation {
          try await Machine.sleep(for: .milliseconds(250))
          guard Machine.now >= nextUpkeep else { continue }
          nextUpkeep = Machine.now + Self.upkeep
          guard try await link.ask({ broker.has(queue) }) else { break }
        }
      } catch {
        if Task.isCancelled { break }
      }
      receiver.connectionChanged(isConnected: false)
      try? await Machine.sleep(for: backoff.next())
    }
  }
}

/// The publisher of one relay, over a link to the broker.
struct SimulatedPublisher: LivePublisher {
  private let link: Link
  private let broker: Broker

  init(_ link: Link, _ broker: Broker) { (self.link, self.broker) = (link, broker) }

  func publish(_ messages: [FeedMessage]) async throws -> Int {
    try await link.ask(isWrite: true) { [broker] in broker.publish(messages) }
  }

  func isReady() async -> Bool { (try? await link.ask { true }) ?? false }
  func close() async {}
}
