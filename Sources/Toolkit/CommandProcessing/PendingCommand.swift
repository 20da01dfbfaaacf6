internal import EventSourcing
internal import FoundationEssentials
internal import Instrumentation

/// A command as it arrived, and the continuation of its caller.
final class QueuedCommand: Sendable {
  let name: String
  let streams: [AggregateReference]
  let decide: @Sendable (inout Decision) -> (any Error)?
  let response: @Sendable (Decided) -> [UInt8]
  let request: CommandRequest
  let counters: CommandCounters
  /// The caller's span; nil without tracing.
  let span: InstrumentationContext?
  let deadline: ContinuousClock.Instant
  let continuation: CheckedContinuation<CommandOutcome, any Error>

  /// - Parameter streams: The command's streams, passed in because the command computes them at each access.
  init<Requested: Command>(
    _ command: Requested, _ streams: [AggregateReference], _ request: CommandRequest, deadline: ContinuousClock.Instant,
    _ response: @escaping @Sendable (Decided) -> [UInt8],
    _ continuation: CheckedContinuation<CommandOutcome, any Error>
  ) {
    name = Requested.name
    self.streams = streams
    decide = { decision in
      do { try command.decide(&decision) } catch { return error }
      return nil
    }
    self.response = response
    self.request = request
    counters = .of(Requested.self)
    span = .current
    self.deadline = deadline
    self.continuation = continuation
  }

  /// The command's first stream.
  var subject: StreamID { streams[0].stream }
  func reads(_ stream: StreamID) -> Bool { streams.contains { $0.stream == stream } }
}

/// A command that waits for its batch.
struct PendingCommand: Sendable {
  let command: QueuedCommand
  /// How often the command was decided on stale state.
  var attempts = 0
  /// The states that were loaded for it, in case the cache has lost them.
  var loaded: [StreamID: StreamState] = [:]
  /// The command was sent once, and its outcome is unknown.
  var isUncertain = false
  /// Its streams must be loaded, including those that it expects to be new.
  var mustLoad = false

  init(_ command: QueuedCommand) { self.command = command }
}
