internal import EventSourcing
internal import FoundationEssentials
internal import Instrumentation

/// A command as it came, and whoever waits for it.
final class QueuedCommand: Sendable {
  let name: String
  let streams: [AggregateReference]
  let decide: @Sendable (inout Decision) -> (any Error)?
  let response: @Sendable (Decided) -> [UInt8]
  let request: CommandRequest
  let counters: CommandCounters
  /// The span that waits for it; nil where nobody traces.
  let span: InstrumentationContext?
  let deadline: ContinuousClock.Instant
  let continuation: CheckedContinuation<CommandOutcome, any Error>

  /// - Parameter streams: the command's own, which it makes anew whenever it is asked.
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

  /// What the command is about.
  var subject: StreamID { streams[0].stream }
  func reads(_ stream: StreamID) -> Bool { streams.contains { $0.stream == stream } }
}

/// A command that waits for its batch.
struct PendingCommand: Sendable {
  let command: QueuedCommand
  /// Times that it was decided on stale state.
  var attempts = 0
  /// States that were loaded for it, should the cache have lost them by now.
  var loaded: [StreamID: StreamState] = [:]
  /// It was sent once, and nobody knows what became of that.
  var isUncertain = false
  /// A stream that it expects to be new is not.
  var mustLoad = false

  init(_ command: QueuedCommand) { self.command = command }
}
