internal import EventSourcing
internal import Metrics
internal import Synchronization

struct ProcessorMetrics: Sendable {
  let conflicts = Counter(label: "command_conflicts_total")
  let contentionLocks = Counter(label: "command_contention_locks_total")
  let resent = Counter(label: "command_batches_resent_total")
  let batchSize = Recorder(label: "command_batch_size")
  /// From the first send of a batch until its outcome is known.
  let commit = Metrics.Timer(label: "command_commit_seconds")
  let unanswered = Meter(label: "command_queue")
  let snapshots = Counter(label: "snapshots_saved_total")
  let snapshotLoads = Counter(label: "snapshots_loaded_total")
  let failedSnapshots = Counter(label: "snapshots_failed_total")
  /// Commands that were refused before their bodies were read.
  let shed = CommandCounters("unread").overloaded
}

/// Counts the outcomes of one type of command.
final class CommandCounters: Sendable {
  let accepted: Counter
  let repeated: Counter
  let rejected: Counter
  let failed: Counter
  let overloaded: Counter
  let unknown: Counter

  init(_ command: String) {
    func counter(_ outcome: String) -> Counter {
      Counter(label: "commands_total", dimensions: [("command", command), ("outcome", outcome)])
    }
    accepted = counter("accepted")
    repeated = counter("repeated")
    rejected = counter("rejected")
    failed = counter("failed")
    overloaded = counter("overloaded")
    unknown = counter("unknown")
  }

  private static let known = Mutex<[ObjectIdentifier: CommandCounters]>([:])

  static func of<Carried: Command>(_ type: Carried.Type) -> CommandCounters {
    known.withLock { known in
      if let counters = known[ObjectIdentifier(type)] { return counters }
      let counters = CommandCounters(Carried.name)
      known[ObjectIdentifier(type)] = counters
      return counters
    }
  }
}
