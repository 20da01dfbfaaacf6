internal import Metrics

struct ProjectionMetrics {
  let events: Counter
  let duplicates: Counter
  let gaps: Counter
  let refused: Counter
  let fenced: Counter
  let takenBack: Counter
  let retries: Counter
  let lag: Gauge
  let age: Gauge
  let owned: Gauge
  let parked: Gauge
  let retrying: Gauge
  let stopped: Gauge
  let suspended: Counter
  let batchSize: Recorder
  let batchTime: Metrics.Timer
  private let dimensions: [(String, String)]

  init(_ projection: String, _ generation: Int, _ lane: Int) {
    let dimensions = [("projection", projection), ("generation", "\(generation)")]
    self.dimensions = dimensions
    events = Counter(label: "projection_events_applied_total", dimensions: dimensions)
    duplicates = Counter(label: "projection_duplicates_total", dimensions: dimensions)
    gaps = Counter(label: "projection_gaps_total", dimensions: dimensions)
    refused = Counter(label: "projection_events_refused_total", dimensions: dimensions)
    fenced = Counter(label: "projection_fenced_total", dimensions: dimensions)
    takenBack = Counter(label: "projection_assignments_taken_back_total", dimensions: dimensions)
    retries = Counter(label: "projection_interruptions_total", dimensions: dimensions)
    suspended = Counter(label: "projection_lanes_suspended_total", dimensions: dimensions)
    let ofLane = dimensions + [("lane", "\(lane)")]
    lag = Gauge(label: "projection_lag_positions", dimensions: ofLane)
    age = Gauge(label: "projection_lag_seconds", dimensions: ofLane)
    owned = Gauge(label: "projection_assignments_owned", dimensions: ofLane)
    parked = Gauge(label: "projection_streams_parked", dimensions: ofLane)
    retrying = Gauge(label: "projection_streams_retrying", dimensions: ofLane)
    stopped = Gauge(label: "projection_assignments_stopped", dimensions: ofLane)
    batchSize = Recorder(label: "projection_batch_size", dimensions: dimensions)
    batchTime = Metrics.Timer(label: "projection_batch_seconds", dimensions: dimensions)
  }

  func lag(of partition: Int) -> Gauge {
    Gauge(label: "projection_partition_lag_positions", dimensions: dimensions + [("partition", "\(partition)")])
  }

  /// Removes the lane's gauges, so that nobody reads old values.
  func end() { for gauge in [lag, age, owned, parked, retrying, stopped] { gauge.destroy() } }
}
