internal import EventSourcing
internal import FoundationEssentials

/// A command that waits for its batch, and whoever waits for the command.
struct PendingCommand: Sendable {
  let streams: [AggregateReference]
  let decide: @Sendable (inout Decision) -> (any Error)?
  let metadata: [UInt8]
  let deadline: ContinuousClock.Instant
  let continuation: CheckedContinuation<Receipt, any Error>
  /// Times that it was decided on stale state.
  var attempts = 0

  func reads(_ stream: StreamID) -> Bool { streams.contains { $0.stream == stream } }
}

/// A pending command with what it decided.
struct DecidedCommand: Sendable {
  let pending: PendingCommand
  /// The rejection that it threw.
  let rejection: (any Error)?
  let events: [NewEvent]
  /// The command's streams as it left them; positions of its own events are not known yet.
  let states: [StreamID: StreamState]
}
