public import EventSourcing
internal import Failures
internal import JSON

/// Where a reaction begins when it is first run. Afterwards it goes on where it stands.
public enum ReactionStart: Sendable {
  /// Behind the events that are there: it reacts to those that come.
  case head
  /// With the first event of the store.
  case beginning
}

/// What follows from events: a `Reaction`, a `ProcessManager` or an `Effect`.
public protocol Reacting: Sendable {
  /// Names it for good, in lower case: it is part of its commands' keys. At most 100 bytes.
  var name: String { get }
  /// Count it up when what it does changes. The new version goes on where the old one stands.
  var version: Int { get }
  /// Where it begins when it runs for the first time. The default is `.head`.
  var start: ReactionStart { get }
  /// The types of the commands that it schedules, or that commands which it runs schedule.
  var schedules: [ScheduledType] { get }
  /// What the engine runs: the reaction without its types. Conform to `Reaction`, `ProcessManager` or `Effect`, which
  /// provide it.
  var definition: ReactionDefinition { get }
}

extension Reacting {
  public var version: Int { 1 }
  /// The end of the store: events that exist before the first run are left out.
  public var start: ReactionStart { .head }
  public var schedules: [ScheduledType] { [] }
}

/// Causes commands when events happen: exactly once for each event, and in the order of each stream's events.
///
///     struct CloseUnused: Reaction {
///       let name = "close-unused"
///       let triggers = [
///         Trigger(Account.self) { event, todo in
///           guard case .opened = event.event else { return }
///           todo.schedule(CloseEmpty(), to: event.id, .at(event.recordedAt.advanced(by: .seconds(900))))
///         }
///       ]
///       let schedules = [ScheduledType(CloseEmpty.self)]
///     }
///
/// All that follows from one event is one append, whose idempotency key names the reaction and the event. A command that is
/// rejected, without a `Fallback` for it, parks the event's stream.
public protocol Reaction: Reacting {
  /// The events that lead to commands, each with its aggregate.
  var triggers: [Trigger] { get }
}

/// The events of one aggregate, and what follows from each.
public struct Trigger: Sendable {
  let aggregate: any Aggregate.Type
  let category: String
  let react: @Sendable (RecordedEvent, inout Consequences) throws -> Void

  /// Names the aggregate whose events have consequences.
  /// - Parameters:
  ///   - type: the aggregate of the streams.
  ///   - react: says what follows from an event: pure, and quick. The same event gives the same consequences each time
  ///     that it is called. What it throws parks the stream.
  public init<State: Aggregate>(
    _ type: State.Type, _ react: @escaping @Sendable (Recorded<State.Event>, inout Consequences) throws -> Void
  ) {
    (aggregate, category) = (State.self, State.category)
    self.react = { event, todo in try react(try Recorded(event), &todo) }
  }
}

extension Reaction {
  /// What the engine runs: the reaction without its types.
  public var definition: ReactionDefinition {
    let triggers = triggers
    return ReactionDefinition(
      name: name, version: version, start: start, schedules: schedules, categories: Set(triggers.map(\.category)),
      aggregates: triggers.map(\.aggregate), isCorrelated: false
    ) { event in
      var todo = Consequences()
      for trigger in triggers where trigger.category == event.stream.category { try trigger.react(event, &todo) }
      if let problem = todo.problem { throw ReactionFailure(description: problem) }
      return ReactionDefinition.Answer(sequence: event.stream, appends: todo.appends)
    }
  }
}

/// A reaction as the engine runs it: its types hidden.
public struct ReactionDefinition: Sendable {
  /// What follows from one event.
  package struct Answer: Sendable {
    /// Events with the same one are handled in order.
    package let sequence: StreamID
    package let appends: [Append]
  }

  /// Commands that are one append.
  package struct Append: Sendable {
    /// Tells the appends of one event apart; empty for the only one.
    package let slot: String
    package let command: any ReactionCommand
  }

  package let name: String
  package let version: Int
  package let start: ReactionStart
  package let schedules: [ScheduledType]
  package let categories: Set<String>
  /// The aggregates whose events it handles, and a process manager's own.
  package let aggregates: [any Aggregate.Type]
  /// Whether events are handled in the order of processes, not of streams.
  package let isCorrelated: Bool
  /// The calls of an effect; nil for what appends.
  package internal(set) var effect: EffectDefinition?
  /// - Throws: what the reaction throws, and `EventDecodingError`.
  package let answer: @Sendable (RecordedEvent) throws -> Answer

  package var isEffect: Bool { effect != nil }

  /// Events with the same one are handled in order. An event that this build cannot read waits alone, since what it concerns is
  /// not known; the one who handles it reports why.
  package func sequence(of event: RecordedEvent) -> StreamID {
    guard isCorrelated else { return event.stream }
    return (try? answer(event))?.sequence ?? StreamID(rawValue: "\(event.stream)@\(event.version)")
  }

  /// Whether nothing follows from an event. What cannot be read is not idle: the one who handles it reports why.
  package func isIdle(_ event: RecordedEvent) -> Bool {
    if let effect { (try? effect.calls(event).isEmpty) ?? false } else { (try? answer(event).appends.isEmpty) ?? false }
  }

  /// Why it cannot be run; nil for nothing.
  package var problem: String? {
    guard name.wholeMatch(of: /[a-z][a-z0-9_.-]*/) != nil, name.utf8.count <= 100 else {
      return "the name of the reaction '\(name)' must have 1 to 100 lower-case letters, digits, '.', '-' and '_'"
    }
    guard version > 0 else { return "the version of the reaction \(name) must be 1 or more" }
    if let problem = effect?.limits.problem { return "the limits of the effect \(name): \(problem)" }
    return categories.isEmpty ? "the reaction \(name) has no triggers" : nil
  }

  /// Why all of them cannot be run together; nil for nothing.
  package static func problem(with all: [ReactionDefinition]) -> String? {
    if let problem = all.lazy.compactMap(\.problem).first { return problem }
    var names: Set<String> = []
    if let double = all.first(where: { !names.insert($0.name).inserted }) {
      return "two reactions are named \(double.name)"
    }
    var types: [String: ObjectIdentifier] = [:]
    for type in all.flatMap(\.schedules) where types.updateValue(type.type, forKey: type.name) ?? type.type != type.type
    {
      return "two types of scheduled commands are named \(type.name): rename one, since its name is stored"
    }
    return nil
  }
}

/// A type of commands that are scheduled, so that a reactor can read them when they are due. Its name is stored: a type that is
/// renamed cannot read what was scheduled before.
public struct ScheduledType: Sendable {
  package let name: String
  let type: ObjectIdentifier
  package let decode: @Sendable ([UInt8]) throws -> any Command

  public init<Scheduled: Command & Codable>(_: Scheduled.Type) {
    (name, type) = (Scheduled.name, ObjectIdentifier(Scheduled.self))
    decode = { try JSON(parsing: $0).decode(Scheduled.self) }
  }

  /// A command for one stream.
  public init<Scheduled: StreamCommand & Codable>(_: Scheduled.Type) { self.init(Addressed<Scheduled>.self) }
}

/// What follows from an event cannot be carried out.
struct ReactionFailure: ClassifiedError, CustomStringConvertible {
  let description: String
  var failureKind = FailureKind.refused
}
