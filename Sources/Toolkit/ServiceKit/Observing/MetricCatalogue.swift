internal import HTTPKit
package import Observability

/// Every metric that a process may export, except those of the process itself. docs/operations.md lists the same
/// metrics with their labels; a test compares both with the metrics of the processes.
package enum MetricCatalogue {
  /// The metrics, each with its name, its kind and its help.
  package static let all: [PrometheusMetrics.Description] =
    [
      .init("counterflow_process_info", .gauge, "Always 1; its label names the service."),
      .init("counterflow_build_info", .gauge, "Always 1; its label is the version."),
      // HTTP
      .init("counterflow_http_requests_total", .counter, "Answered requests."),
      .init(
        "counterflow_http_request_seconds", .histogram, "Time from the head of a request to the head of its response."),
      .init("counterflow_http_connections", .gauge, "Open connections of clients."),
      .init("counterflow_http_slow_clients_total", .counter, "Connections closed because the client was too slow."),
      .init("counterflow_http_rate_limited_total", .counter, "Requests rejected by the rate limit."),
      .init(
        "counterflow_http_refused_total", .counter, "Requests rejected because the token is invalid or lacks a scope."),
      .init("counterflow_token_key_fetches_failed_total", .counter, "Failed fetches of AUTH_JWKS_URL."),
      // command-service
      .init("counterflow_commands_total", .counter, "Commands by outcome."),
      .init("counterflow_command_queue", .gauge, "Commands that wait for their response."),
      .init("counterflow_command_batch_size", .histogram, "Commands in one append."),
      .init("counterflow_command_commit_seconds", .histogram, "Time from sending an append to its outcome."),
      .init(
        "counterflow_command_conflicts_total", .counter,
        "Streams that another command wrote between decision and append."),
      .init("counterflow_command_contention_locks_total", .counter, "Appends that took contention locks."),
      .init(
        "counterflow_command_batches_resent_total", .counter, "Appends sent again because their outcome was unknown."),
      .init("counterflow_snapshots_saved_total", .counter, "Stored snapshots."),
      .init("counterflow_snapshots_loaded_total", .counter, "Streams loaded from a snapshot."),
      .init("counterflow_snapshots_failed_total", .counter, "Snapshots that could not be stored or read."),
      .init(
        "counterflow_idempotency_keys_forgotten_total", .counter, "Idempotency keys removed after their retention."),
      // relay
      .init("counterflow_relay_active", .gauge, "1 for the relay that publishes, 0 for a standby."),
      .init("counterflow_relay_position", .gauge, "The last position published on the live feed."),
      .init(
        "counterflow_relay_lag_positions", .gauge, "The number of events that the live feed is behind the write store."),
      .init("counterflow_relay_events_published_total", .counter, "Events published on the live feed."),
      .init(
        "counterflow_relay_messages_undelivered_total", .counter,
        "Messages of the live feed that no projector received."
      ),
      .init("counterflow_relay_confirm_seconds", .histogram, "Time from publishing to the broker's confirms."),
      .init("counterflow_relay_failures_total", .counter, "Interruptions of the live feed."),
      .init("counterflow_integration_position", .gauge, "The last position published on the integration feed."),
      .init(
        "counterflow_integration_lag_positions", .gauge,
        "The number of events that the integration feed is behind the write store."),
      .init("counterflow_integration_events_published_total", .counter, "Events that a queue accepted."),
      .init("counterflow_integration_events_unrouted_total", .counter, "Events that no queue was bound for."),
      .init("counterflow_integration_events_refused_total", .counter, "Events that a queue rejected; the feed waits."),
      .init("counterflow_integration_failures_total", .counter, "Interruptions of the integration feed."),
      // projector
      .init("counterflow_projection_events_applied_total", .counter, "Events applied to read tables."),
      .init("counterflow_projection_duplicates_total", .counter, "Deliveries of events that were already applied."),
      .init("counterflow_projection_gaps_total", .counter, "Gaps in the feed, filled from the store."),
      .init("counterflow_projection_events_refused_total", .counter, "Events that failed in a read model or reaction."),
      .init(
        "counterflow_projection_fenced_total", .counter, "Writes rejected because another worker owns the assignment."),
      .init(
        "counterflow_projection_assignments_taken_back_total", .counter,
        "Assignments whose last commits a crash of the read store lost; the events are applied again."),
      .init("counterflow_projection_interruptions_total", .counter, "Rounds that failed and were repeated."),
      .init(
        "counterflow_projection_lanes_suspended_total", .counter,
        "Lanes that failed for a long time and released their assignments."),
      .init(
        "counterflow_projection_lag_positions", .gauge,
        "The lag of a lane's slowest assignment, in positions."),
      .init("counterflow_projection_lag_seconds", .gauge, "The age of the oldest event that a lane has not applied."),
      .init(
        "counterflow_projection_partition_lag_positions", .gauge,
        "The lag of an assignment behind its partition's head, in positions."),
      .init("counterflow_projection_assignments_owned", .gauge, "Assignments that a lane owns."),
      .init(
        "counterflow_projection_assignments_stopped", .gauge,
        "Assignments of a lane that are halted or forked."),
      .init("counterflow_projection_assignments_unowned", .gauge, "Assignments without an owner."),
      .init(
        "counterflow_projection_streams_parked", .gauge,
        "Parked streams of a lane that wait for an operator."),
      .init(
        "counterflow_projection_streams_retrying", .gauge,
        "Parked streams of a lane that wait for their next automatic attempt."),
      .init(
        "counterflow_projector_round_parts", .histogram,
        "Parts in one transaction. A part is what one lane of one projection writes."),
      .init("counterflow_projection_batch_size", .histogram, "Events in one transaction."),
      .init(
        "counterflow_projection_batch_seconds", .histogram,
        "The duration of one transaction of rows and checkpoints, including the wait for it."),
      .init(
        "counterflow_projector_deliveries_dropped_total", .counter,
        "Deliveries dropped because memory was full; their events are read from the store."),
      // reactor
      .init("counterflow_reaction_appends_total", .counter, "Appends by reactions."),
      .init("counterflow_effect_attempts_total", .counter, "Attempts at calls of effects, by outcome."),
      .init("counterflow_effect_attempt_seconds", .histogram, "The duration of one attempt at a call."),
      .init("counterflow_mails_total", .counter, "Mails by outcome, without failed attempts."),
      .init("counterflow_deadlines_fired_total", .counter, "Scheduled commands that ran."),
      .init("counterflow_deadlines_failed_total", .counter, "Scheduled commands that failed."),
      .init("counterflow_deadlines_outstanding", .gauge, "Waiting scheduled commands, counted up to 1,000,000."),
      .init("counterflow_deadlines_overdue_seconds", .gauge, "How long the oldest scheduled command is overdue."),
      .init("counterflow_deadlines_stuck", .gauge, "Failed scheduled commands that wait for an operator."),
      // query-service
      .init("counterflow_read_model_lag_seconds", .gauge, "The maximum age of what queries of a read model see."),
      .init(
        "counterflow_read_model_lag_positions", .gauge, "The lag of a read model behind the write store, in positions."),
      .init("counterflow_query_waiters", .gauge, "Queries that wait until the read model reaches their token."),
      .init("counterflow_query_wait_seconds", .histogram, "How long queries with a token waited."),
      .init("counterflow_query_cache_hits_total", .counter, "Cache hits."),
      .init("counterflow_query_cache_misses_total", .counter, "Cache misses."),
      .init("counterflow_query_cache_bytes", .gauge, "The size of the cache, in bytes."),
      .init("counterflow_query_followers", .gauge, "Clients that follow changes."),
      .init(
        "counterflow_query_changes_lag_seconds", .gauge,
        "How long followers have been behind what queries show."),
      // Servers
      .init("counterflow_postgres_pool_leased", .gauge, "Database connections in use."),
      .init(
        "counterflow_postgres_pool_wait_seconds", .histogram,
        "How long tasks waited for a free connection, if they had to."),
      .init("counterflow_postgres_pool_exhausted_total", .counter, "Tasks that got no connection in time."),
      .init("counterflow_postgres_connect_failures_total", .counter, "Failed attempts to connect."),
      .init(
        "counterflow_store_failovers_total", .counter, "Servers of the write store that took over and were recognised."),
      .init(
        "counterflow_rabbitmq_publisher_connections_lost_total", .counter,
        "Lost connections of publishers to the broker."),
      .init(
        "counterflow_rabbitmq_consumer_connections_lost_total", .counter,
        "Lost connections of consumers to the broker."),
      .init(
        "counterflow_spans_dropped_total", .counter,
        "Spans dropped because the buffer was full or the collector failed."
      ),
    ]
}
