/// Metrics that this suite does not provoke, with the reason.
let unprovokedMetrics = [
  "counterflow_snapshots_failed_total": "needs a disk that fails, or a snapshot of a later version",
  "counterflow_relay_lag_positions": "zero unless the machine is slow; ProcessMetricsTests sees that it is set",
  "counterflow_integration_lag_positions": "as that of the live feed",
  "counterflow_projection_fenced_total": "EngineTests takes a worker's assignments, and sees the metric",
  "counterflow_projection_assignments_taken_back_total": "EngineTests takes writes back, and sees the metric",
  "counterflow_token_key_fetches_failed_total": "FetchedKeysTests has a provider that fails, and sees the metric",
  "counterflow_projection_lanes_suspended_total": "EngineTests has a lane that fails for long, and sees the metric",
  "counterflow_projection_assignments_stopped": "EngineTests parks twenty streams, and sees the metric",
  "counterflow_projection_assignments_unowned": "for less than a second while projectors run",
  "counterflow_reaction_appends_total": "BankReactionTests runs reactors, and sees the metric",
  "counterflow_deadlines_fired_total": "DeadlineTests sees the metric",
  "counterflow_deadlines_failed_total": "DeadlineTests sees the metric",
  "counterflow_deadlines_outstanding": "DeadlineTests sees the metric",
  "counterflow_deadlines_overdue_seconds": "DeadlineTests sees the metric",
  "counterflow_deadlines_stuck": "DeadlineTests sees the metric",
]
