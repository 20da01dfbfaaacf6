public import Observability

/// Every metric that a process may export, except those of the process itself. docs/operations.md lists the same
/// metrics with their labels; a test compares both with the metrics of the processes.
public enum MetricCatalogue {
  public static let all: [PrometheusMetrics.Description] =
    [
      .init("counterflow_process_info", .gauge, "1; its label says what the process is."),
      // HTTP
      .init("counterflow_http_requests_total", .counter, "Requests that were answered."),
      .init("counterflow_http_request_seconds", .histogram, "From a request's head to its answer's."),
      .init("counterflow_http_connections", .gauge, "Connections that clients have open."),
      .init("counterflow_http_slow_clients_total", .counter, "Connections closed because the client was too slow."),
      .init("counterflow_http_rate_limited_total", .counter, "Requests refused because their sender had too many."),
      .init("counterflow_http_refused_total", .counter, "Requests refused for lack of a right."),
      .init("counterflow_token_key_fetches_failed_total", .counter, "Times that AUTH_JWKS_URL gave no key set."),
      // command-service
      .init("counterflow_commands_total", .counter, "Commands by what came of them."),
      .init("counterflow_command_queue", .gauge, "Commands without an answer yet."),
      .init("counterflow_command_batch_size", .histogram, "Commands appended together."),
      .init("counterflow_command_commit_seconds", .histogram, "From appending a batch to knowing its outcome."),
      .init(
        "counterflow_command_conflicts_total", .counter, "Streams that others wrote between deciding and appending."),
      .init("counterflow_command_contention_locks_total", .counter, "Batches that took contention locks."),
      .init("counterflow_command_batches_resent_total", .counter, "Batches sent again because their outcome was lost."),
      .init("counterflow_snapshots_saved_total", .counter, "Snapshots that were kept."),
      .init("counterflow_snapshots_loaded_total", .counter, "Streams that were loaded from a snapshot."),
      .init("counterflow_snapshots_failed_total", .counter, "Snapshots that could not be kept or read."),
      .init("counterflow_idempotency_keys_forgotten_total", .counter, "Keys whose time was over."),
      // relay
      .init("counterflow_relay_active", .gauge, "1 for the relay that publishes, 0 for one that stands by."),
      .init("counterflow_relay_position", .gauge, "Up to where the live feed is published."),
      .init("counterflow_relay_lag_positions", .gauge, "Events that the live feed is behind the write store."),
      .init("counterflow_relay_events_published_total", .counter, "Events published on the live feed."),
      .init(
        "counterflow_relay_messages_undelivered_total", .counter, "Messages of the live feed that reached no projector."
      ),
      .init("counterflow_relay_confirm_seconds", .histogram, "From publishing to the broker's confirms."),
      .init("counterflow_relay_failures_total", .counter, "Interruptions of the live feed."),
      .init("counterflow_integration_position", .gauge, "Up to where the integration feed is published."),
      .init(
        "counterflow_integration_lag_positions", .gauge, "Events that the integration feed is behind the write store."),
      .init("counterflow_integration_events_published_total", .counter, "Events that a queue took."),
      .init("counterflow_integration_events_unrouted_total", .counter, "Events that no queue wanted."),
      .init("counterflow_integration_events_refused_total", .counter, "Events that a queue refused; the feed waits."),
      .init("counterflow_integration_failures_total", .counter, "Interruptions of the integration feed."),
      // projector
      .init("counterflow_projection_events_applied_total", .counter, "Events applied to read tables."),
      .init("counterflow_projection_duplicates_total", .counter, "Deliveries that had been applied already."),
      .init("counterflow_projection_gaps_total", .counter, "Gaps in the feed that were healed from the store."),
      .init("counterflow_projection_events_refused_total", .counter, "Events that a read model did not take."),
      .init("counterflow_projection_fenced_total", .counter, "Writes refused since another owns the assignment."),
      .init(
        "counterflow_projection_assignments_taken_back_total", .counter,
        "Assignments of which a crash has taken back what was written last; it is applied again."),
      .init("counterflow_projection_interruptions_total", .counter, "Rounds that failed and were tried again."),
      .init(
        "counterflow_projection_lanes_suspended_total", .counter,
        "Lanes that failed for long and left their assignments."),
      .init(
        "counterflow_projection_lag_positions", .gauge,
        "Positions that the furthest behind of a lane's assignments is behind."),
      .init("counterflow_projection_lag_seconds", .gauge, "Age of the oldest event that a lane has not applied."),
      .init(
        "counterflow_projection_partition_lag_positions", .gauge,
        "Positions that an assignment is behind its partition's head."),
      .init("counterflow_projection_assignments_owned", .gauge, "Assignments that a lane has."),
      .init(
        "counterflow_projection_assignments_stopped", .gauge,
        "Assignments of a lane that stand still: halted or forked."),
      .init("counterflow_projection_assignments_unowned", .gauge, "Assignments that no projector has."),
      .init(
        "counterflow_projection_streams_parked", .gauge,
        "Streams of a lane that wait for a person, at an event that was refused."),
      .init("counterflow_projection_streams_retrying", .gauge, "Streams of a lane that wait for the next attempt."),
      .init(
        "counterflow_projector_round_parts", .histogram,
        "Parts in one transaction: each is what one lane of one projection writes."),
      .init("counterflow_projection_batch_size", .histogram, "Events in one transaction."),
      .init(
        "counterflow_projection_batch_seconds", .histogram,
        "One transaction of rows and checkpoints, and the wait for it."),
      .init(
        "counterflow_projector_deliveries_dropped_total", .counter,
        "Deliveries that found no room, and are read from the store."),
      // reactor
      .init("counterflow_reaction_appends_total", .counter, "Appends that reactions have made."),
      .init("counterflow_effect_attempts_total", .counter, "Attempts at calls of effects, by what came of them."),
      .init("counterflow_effect_attempt_seconds", .histogram, "One attempt at a call."),
      .init("counterflow_deadlines_fired_total", .counter, "Scheduled commands that were carried out."),
      .init("counterflow_deadlines_failed_total", .counter, "Scheduled commands that failed and wait for a person."),
      .init("counterflow_deadlines_outstanding", .gauge, "Scheduled commands that wait, counted up to 1,000,000."),
      .init("counterflow_deadlines_overdue_seconds", .gauge, "How long the oldest scheduled command has been due."),
      .init("counterflow_deadlines_stuck", .gauge, "Scheduled commands that have failed and wait for a person."),
      // query-service
      .init("counterflow_read_model_lag_seconds", .gauge, "Age of what queries of a read model are sure to see."),
      .init("counterflow_read_model_lag_positions", .gauge, "Positions that a read model is behind the write store."),
      .init("counterflow_query_waiters", .gauge, "Queries that wait for what their token stands for."),
      .init("counterflow_query_wait_seconds", .histogram, "How long queries with a token have waited."),
      .init("counterflow_query_cache_hits_total", .counter, "Answers that were in memory."),
      .init("counterflow_query_cache_misses_total", .counter, "Answers that were not."),
      .init("counterflow_query_cache_bytes", .gauge, "Answers in memory, in bytes."),
      .init("counterflow_query_followers", .gauge, "Clients that follow changes."),
      .init(
        "counterflow_query_changes_lag_seconds", .gauge,
        "For how long followers have not been told of everything that queries show."),
      // Servers
      .init("counterflow_postgres_pool_leased", .gauge, "Database connections in use."),
      .init("counterflow_postgres_pool_wait_seconds", .histogram, "Waiting for a free connection, where one had to."),
      .init("counterflow_postgres_pool_exhausted_total", .counter, "Tasks that got no connection in time."),
      .init("counterflow_postgres_connect_failures_total", .counter, "Connections that could not be made."),
      .init(
        "counterflow_rabbitmq_publisher_connections_lost_total", .counter,
        "Publishers' connections to the broker that broke."),
      .init(
        "counterflow_rabbitmq_consumer_connections_lost_total", .counter,
        "Consumers' connections to the broker that broke."),
      .init(
        "counterflow_spans_dropped_total", .counter, "Spans that were not exported, for lack of room or of a collector."
      ),
    ]
}
