internal import EventSourcing
internal import FoundationEssentials

/// How far a projection has come in a partition.
struct Checkpoint: Sendable, Hashable {
  var position: Position
  /// The event at that position; nil at the start.
  var eventID: UUID?

  static let start = Checkpoint(position: .start, eventID: nil)
}

/// One (projection, partition): a pure state machine that decides what to do with what it is given.
///
/// The main path: claimed → catchingUp → live ⇄ catchingUp. From anywhere → halted.
struct PartitionAssignment: Sendable {
  enum Mode: Sendable, Hashable {
    /// Deliveries follow one another without a gap.
    case live
    /// Reads the store from the checkpoint on; deliveries wait there.
    case catchingUp
    /// Something is wrong with more than one stream. It is tried again at that time.
    case halted(retryAt: ContinuousClock.Instant)
    /// The store's history is not the one that the checkpoint belongs to: nothing but a rebuild helps.
    case forked
    /// Has come to the position where its generation ends.
    case done

    /// As the status shows it.
    var name: String {
      switch self {
      case .live: "live"
      case .catchingUp: "catching up"
      case .halted: "halted"
      case .forked: "forked"
      case .done: "done"
      }
    }
  }

  /// Why and where an assignment stands still.
  struct Trouble: Sendable, Hashable {
    let position: Position
    let reason: String
  }

  enum Verdict: Sendable, Equatable {
    case apply([RecordedEvent])
    /// All of it was applied before.
    case duplicate
    /// Something in between is missing, or does not fit; the assignment catches up from the store.
    case gap
    case forked(String)
    /// The assignment is not taking deliveries now.
    case notLive
  }

  let partition: Partition
  let historyID: UUID
  var checkpoint: Checkpoint
  var mode = Mode.catchingUp
  /// Where the generation ends; nil when it goes on.
  let until: Position?
  /// While it is halted or forked.
  var trouble: Trouble?
  /// The partition's head when it was last looked at.
  var knownHead = Position.start

  init(partition: Partition, historyID: UUID, checkpoint: Checkpoint, until: Position? = nil) {
    self.partition = partition
    self.historyID = historyID
    self.checkpoint = checkpoint
    self.until = until
  }

  /// Takes a delivery from the live feed; after `apply` the checkpoint stands behind its events.
  ///
  /// A delivery that does not fit the checkpoint's history is no proof of a fork, since a relay may
  /// speak of an older one: like a gap it sends the assignment to the store, which decides.
  mutating func receive(_ batch: FeedBatch) -> Verdict {
    guard mode == .live else { return .notLive }
    guard batch.historyID == historyID else { return gap() }
    let last = batch.events.last!
    if last.position < checkpoint.position { return .duplicate }
    if last.position == checkpoint.position { return last.id == checkpoint.eventID ? .duplicate : gap() }
    guard batch.previous.position <= checkpoint.position else { return gap() }
    // The checkpoint's own event must be the one before, or one of these.
    let own =
      batch.previous.position == checkpoint.position
      ? batch.previous.eventID : batch.events.first { $0.position == checkpoint.position }?.id
    guard own == checkpoint.eventID else { return gap() }
    let events = batch.events.filter { $0.position > checkpoint.position }
    checkpoint = Checkpoint(position: last.position, eventID: last.id)
    return .apply(events)
  }

  /// Takes what the store has from the checkpoint on, that event included.
  mutating func catchUp(_ page: PartitionPage) -> Verdict {
    var fresh = page.events[...]
    if checkpoint.position > .start {
      guard let first = fresh.popFirst(), first.position == checkpoint.position, first.id == checkpoint.eventID else {
        return fork("the store does not have the event at \(checkpoint.position)")
      }
    }
    if let until, page.isLast || page.events.last!.position >= until {
      fresh = fresh.prefix { $0.position <= until }
      mode = .done
    } else if page.isLast {
      mode = .live
    }
    guard let last = fresh.last else { return .duplicate }
    checkpoint = Checkpoint(position: last.position, eventID: last.id)
    return .apply(Array(fresh))
  }

  /// Compares with the partition's head, read after the checkpoint was. An assignment that has not come to
  /// where the head was a moment ago has lost deliveries at the end, which no later one would show.
  mutating func observe(_ head: PartitionHead) -> Verdict {
    if mode == .forked { return .notLive }
    if mode == .done, head.position >= checkpoint.position { return .duplicate }
    if head.position < checkpoint.position {
      return fork("the store ends at \(head.position), before the checkpoint \(checkpoint.position)")
    }
    if head.position == checkpoint.position && head.eventID != checkpoint.eventID {
      return fork("another event stands at \(head.position)")
    }
    defer { knownHead = head.position }
    guard mode == .live, knownHead > checkpoint.position else { return .duplicate }
    return gap()
  }

  mutating func halt(at position: Position, _ reason: String, retryAt: ContinuousClock.Instant) {
    mode = .halted(retryAt: retryAt)
    trouble = Trouble(position: position, reason: reason)
  }

  private mutating func gap() -> Verdict {
    mode = .catchingUp
    return .gap
  }

  mutating func fork(_ reason: String) -> Verdict {
    mode = .forked
    trouble = Trouble(position: checkpoint.position, reason: reason)
    return .forked(reason)
  }
}
