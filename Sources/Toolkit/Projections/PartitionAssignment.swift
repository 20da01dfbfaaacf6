internal import EventSourcing
internal import FoundationEssentials

/// One partition of a projection: a pure state machine that decides what to do with each input.
///
/// The main path: claimed → catchingUp → live ⇄ catchingUp. From anywhere → halted.
struct PartitionAssignment: Sendable {
  enum Mode: Sendable, Hashable {
    /// Messages follow one another without a gap.
    case live
    /// Reads the store from the checkpoint on, and ignores messages.
    case catchingUp
    /// The cause is not one event, or it affects many streams. The assignment is tried again at `retryAt`.
    case halted(retryAt: ContinuousClock.Instant)
    /// The checkpoint is not in the store's history. Only a rebuild helps.
    case forked
    /// Has reached the position where its generation ends.
    case done

    /// The name in the status.
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

  /// Where and why an assignment stopped.
  struct Trouble: Sendable, Hashable {
    let position: Position
    let reason: String
  }

  enum Verdict: Sendable, Equatable {
    case apply([RecordedEvent])
    /// All events were applied before.
    case duplicate
    /// Events before these are missing, or these do not fit. The assignment catches up from the store.
    case gap
    case forked(String)
    /// The assignment takes no messages now.
    case notLive
  }

  let partition: Partition
  let historyID: UUID
  var checkpoint: Checkpoint
  var mode = Mode.catchingUp
  /// Where the generation ends; nil if it has no end.
  let until: Position?
  /// Set while the assignment is halted or forked.
  var trouble: Trouble?
  /// The partition's head when it was last observed.
  var knownHead = Position.start

  init(_ stored: StoredAssignment, until: Position?) {
    self.init(
      partition: stored.partition, historyID: stored.historyID, checkpoint: stored.checkpoint, until: until)
  }

  /// How it is doing.
  var report: AssignmentReport {
    AssignmentReport(partition: partition, mode: mode.name, position: trouble?.position, reason: trouble?.reason)
  }

  init(partition: Partition, historyID: UUID, checkpoint: Checkpoint, until: Position? = nil) {
    self.partition = partition
    self.historyID = historyID
    self.checkpoint = checkpoint
    self.until = until
  }

  /// Takes a batch from the live feed. After `apply` the checkpoint is at the last of its events.
  ///
  /// A batch that does not fit the checkpoint's history does not prove a fork, since a relay may still publish an
  /// older history. It counts as a gap: the assignment reads the store, which decides.
  mutating func receive(_ batch: FeedBatch) -> Verdict {
    guard mode == .live else { return .notLive }
    guard batch.historyID == historyID else { return gap() }
    let last = batch.events.last!
    if last.position < checkpoint.position { return .duplicate }
    if last.position == checkpoint.position { return last.id == checkpoint.eventID ? .duplicate : gap() }
    guard batch.previous.position <= checkpoint.position else { return gap() }
    // The checkpoint's own event must be the one before the batch, or in the batch.
    let own =
      batch.previous.position == checkpoint.position
      ? batch.previous.eventID : batch.events.first { $0.position == checkpoint.position }?.id
    guard own == checkpoint.eventID else { return gap() }
    let events = batch.events.filter { $0.position > checkpoint.position }
    checkpoint = Checkpoint(position: last.position, eventID: last.id)
    return .apply(events)
  }

  /// Takes a page from the store that starts at the checkpoint, with the checkpoint's own event.
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

  /// Compares the checkpoint with the partition's head, which was read after it. If a live assignment has not reached
  /// the previous head, the last messages were lost, and no later message would show that.
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
