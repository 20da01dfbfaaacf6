internal import Metrics

struct ProcessorMetrics: Sendable {
  let accepted = Counter(label: "commands_total", dimensions: [("outcome", "accepted")])
  let repeated = Counter(label: "commands_total", dimensions: [("outcome", "repeated")])
  let rejected = Counter(label: "commands_total", dimensions: [("outcome", "rejected")])
  let failed = Counter(label: "commands_total", dimensions: [("outcome", "failed")])
  let overloaded = Counter(label: "commands_total", dimensions: [("outcome", "overloaded")])
  let unknown = Counter(label: "commands_total", dimensions: [("outcome", "unknown")])
  let conflicts = Counter(label: "command_conflicts_total")
  let turns = Counter(label: "command_turns_total")
  let resent = Counter(label: "command_batches_resent_total")
  let batchSize = Recorder(label: "command_batch_size")
  let snapshots = Counter(label: "snapshots_saved_total")
  let snapshotLoads = Counter(label: "snapshots_loaded_total")
  let failedSnapshots = Counter(label: "snapshots_failed_total")
}
