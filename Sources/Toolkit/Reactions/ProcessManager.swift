public import EventSourcing
internal import Synchronization

/// A reaction with a state of its own, which is folded from a stream of its own: `CATEGORY-KEY`.
///
/// Each event that concerns a process names its key. Events of one key are handled in the order of their positions, from
/// whatever streams they come. The process's events, the commands that it runs and those that it schedules are one append.
public protocol ProcessManager: Reacting {
  /// The aggregate that holds the state of one process.
  associatedtype State: Aggregate
  /// The events that concern a process, each with its aggregate.
  var triggers: [ProcessTrigger<State>] { get }
}

/// The events of one aggregate, and what follows from each for a process.
public struct ProcessTrigger<State: Aggregate>: Sendable {
  let aggregate: any Aggregate.Type
  let category: String
  /// - Returns: nil where the event concerns no process.
  let prepare: @Sendable (RecordedEvent) throws -> (key: String, react: @Sendable (State) throws -> Consequences)?

  /// Names an aggregate whose events concern processes.
  /// - Parameters:
  ///   - source: the aggregate of the streams.
  ///   - key: of the process that the event concerns; nil for none.
  ///   - react: says what follows from the event in that state: pure, and quick. It may be called several times, each
  ///     time with newer state. Emit the process's own events to `State.self` and the key.
  public init<Source: Aggregate>(
    _ source: Source.Type, key: @escaping @Sendable (Recorded<Source.Event>) throws -> String?,
    _ react: @escaping @Sendable (Recorded<Source.Event>, State, inout Consequences) throws -> Void
  ) {
    (aggregate, category) = (Source.self, Source.category)
    prepare = { event in
      let recorded = try Recorded<Source.Event>(event)
      guard let key = try key(recorded) else { return nil }
      return (
        key,
        { state in
          var todo = Consequences()
          try react(recorded, state, &todo)
          return todo
        }
      )
    }
  }
}

extension ProcessManager {
  /// What the engine runs: the process manager without its types.
  public var definition: ReactionDefinition {
    let triggers = triggers
    return ReactionDefinition(
      name: name, version: version, start: start, schedules: schedules, categories: Set(triggers.map(\.category)),
      aggregates: triggers.map(\.aggregate) + [State.self], isCorrelated: true
    ) { event in
      let found = try triggers.filter { $0.category == event.stream.category }.compactMap { try $0.prepare(event) }
      guard let first = found.first else { return .init(sequence: event.stream, appends: []) }
      guard found.allSatisfy({ ExactText($0.key) == ExactText(first.key) }) else {
        throw ReactionFailure(description: "the event concerns several processes: \(found.map(\.key))")
      }
      let step = ProcessStep<State>(key: first.key) { state in
        var all: [Consequences] = []
        for trigger in found { all.append(try trigger.react(state)) }
        return all
      }
      return .init(
        sequence: AggregateReference(State.self, first.key).stream, appends: [.init(slot: "", command: step)])
    }
  }
}

/// One event's consequences for a process. Which streams they touch is known only once the state is: a first decision finds
/// out, and a second one is made with all of them.
private final class ProcessStep<State: Aggregate>: ReactionCommand {
  static var name: String { "ProcessStep" }

  private struct Known {
    var others: [AggregateReference] = []
    var isIncomplete = false
    var failure: (any Error)?
  }

  private let key: String
  private let react: @Sendable (State) throws -> [Consequences]
  private let known = Mutex(Known())

  init(key: String, _ react: @escaping @Sendable (State) throws -> [Consequences]) {
    (self.key, self.react) = (key, react)
  }

  var needsMoreStreams: Bool { known.withLock { $0.isIncomplete } }
  var failure: (any Error)? { known.withLock { $0.failure } }
  var streams: [AggregateReference] {
    ([AggregateReference(State.self, key)] + known.withLock { $0.others }).uniqued
  }

  func decide(_ decision: inout Decision) throws(Rejection) {
    let all: [Consequences]
    do {
      all = try react(decision.state(State.self, key))
      if all.contains(where: \.hasSeparate) {
        throw ReactionFailure(description: "what follows from an event for a process is one append: use no slots")
      }
    } catch {
      known.withLock { ($0.isIncomplete, $0.failure) = (false, error) }
      throw Self.undecided
    }
    let needed = all.flatMap(\.streams)
    let isComplete = needed.allSatisfy { decision.states[$0.stream] != nil }
    known.withLock { known in
      (known.isIncomplete, known.failure) = (!isComplete, nil)
      if !isComplete { known.others = (known.others + needed).uniqued }
    }
    guard isComplete else { throw Self.undecided }
    for consequences in all { try consequences.decide(&decision) }
  }

  /// Never seen outside: the reactor asks why first.
  private static var undecided: Rejection {
    Rejection("undecided", title: "Not decided", detail: "The reaction is decided again, or has failed.")
  }
}
