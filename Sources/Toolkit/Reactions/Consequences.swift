public import EventSourcing

/// What to do when a command is rejected.
public struct Fallback: Sendable {
  let references: [AggregateReference]
  let decide: @Sendable (Rejection, inout Decision) throws(Rejection) -> Void

  /// Nothing: the rejection means that the command does not matter any more.
  public static let ignore = Fallback(references: []) { _, _ in }

  /// Another command, for one stream, in the same append.
  public static func run<Other: StreamCommand>(
    _ command: @escaping @Sendable (Rejection) -> Other, to id: String
  ) -> Fallback {
    Fallback(references: [AggregateReference(Other.State.self, id)]) {
      (rejection, decision: inout Decision) throws(Rejection) in
      try Addressed(command(rejection), to: id).decide(&decision)
    }
  }

  /// An event, in the same append.
  public static func emit<State: Aggregate>(
    _ event: @escaping @Sendable (Rejection) -> State.Event, to _: State.Type, _ id: String
  ) -> Fallback {
    Fallback(references: [AggregateReference(State.self, id)]) {
      (rejection, decision: inout Decision) throws(Rejection) in
      decision.emit(event(rejection), to: State.self, id)
    }
  }
}

/// What follows from an event. Everything is one append, but for what is done `separately`.
public struct Consequences: Sendable {
  private struct Part: Sendable {
    let references: [AggregateReference]
    let decide: @Sendable (inout Decision) throws(Rejection) -> Void
  }

  private var parts: [Part] = []
  private var others: [ReactionDefinition.Append] = []
  private var slots: Set<String> = []
  /// What is wrong with the slots; nil for nothing.
  private(set) var problem: String?

  init() {}

  /// Runs a command.
  /// - Parameters:
  ///   - command: the command.
  ///   - fallback: what to do when it is rejected; nil parks the event's stream.
  public mutating func run(_ command: some Command, otherwise fallback: Fallback? = nil) {
    // What has an id that cannot be one is rejected by itself, so that the fallback decides on it.
    let isValid = command.streams.allSatisfy(\.isValid)
    let references = (isValid ? command.streams : []) + (fallback?.references.filter(\.isValid) ?? [])
    parts.append(
      Part(references: references) { (decision: inout Decision) throws(Rejection) in
        guard let rejection = isValid ? decision.attempt(command) : .invalidID else { return }
        guard let fallback else { throw rejection }
        try fallback.decide(rejection, &decision)
      })
  }

  /// Runs a command for one stream.
  public mutating func run(_ command: some StreamCommand, to id: String, otherwise fallback: Fallback? = nil) {
    run(Addressed(command, to: id), otherwise: fallback)
  }

  /// Emits an event, such as one of a process manager's own.
  public mutating func emit<State: Aggregate>(_ event: State.Event, to _: State.Type, _ id: String) {
    parts.append(
      Part(references: [AggregateReference(State.self, id)]) { (decision: inout Decision) throws(Rejection) in
        decision.emit(event, to: State.self, id)
      })
  }

  /// Schedules a command; see `Decision.schedule`.
  public mutating func schedule(_ command: some Command & Codable, _ due: Due) {
    parts.append(
      // An append needs a stream. The others that the command names are read when it is due: a version expected of them now
      // would conflict with those who write them.
      Part(references: Array(command.streams.prefix(1))) { (decision: inout Decision) throws(Rejection) in
        decision.schedule(command, due)
      })
  }

  /// Schedules a command for one stream.
  public mutating func schedule(_ command: some StreamCommand & Codable, to id: String, _ due: Due) {
    schedule(Addressed(command, to: id), due)
  }

  /// Appends some consequences by themselves: they take effect, or are rejected, whatever becomes of the others.
  /// - Parameters:
  ///   - slot: tells them apart in the idempotency keys, now and in later versions: 1 to 100 bytes, not an ordinal. In
  ///     one event each slot stands once.
  ///   - add: adds the consequences.
  public mutating func separately(_ slot: String, _ add: (inout Consequences) throws -> Void) rethrows {
    if !(1...100).contains(slot.utf8.count) { problem = problem ?? "the slot '\(slot)' must have 1 to 100 bytes" }
    if !slots.insert(slot).inserted { problem = problem ?? "the slot '\(slot)' is there twice" }
    var own = Consequences()
    try add(&own)
    problem = problem ?? own.problem
    others += own.appends.map { .init(slot: $0.slot.isEmpty ? slot : "\(slot)/\($0.slot)", command: $0.command) }
  }

  /// One for all, then the separate ones.
  package var appends: [ReactionDefinition.Append] {
    (parts.isEmpty ? [] : [.init(slot: "", command: AllAtOnce(consequences: self))]) + others
  }

  var hasSeparate: Bool { !others.isEmpty }
  var streams: [AggregateReference] { parts.flatMap(\.references).uniqued }

  func decide(_ decision: inout Decision) throws(Rejection) { for part in parts { try part.decide(&decision) } }
}

/// A command that a reaction makes.
package protocol ReactionCommand: Command {
  /// Whether it must be decided once more, with the streams that it names now.
  var needsMoreStreams: Bool { get }
  /// What the reaction itself threw while it was decided.
  var failure: (any Error)? { get }
}

/// What follows from an event, as one command.
private struct AllAtOnce: ReactionCommand {
  static let name = "Reaction"
  let consequences: Consequences

  var needsMoreStreams: Bool { false }
  var failure: (any Error)? { nil }
  var streams: [AggregateReference] { consequences.streams }
  func decide(_ decision: inout Decision) throws(Rejection) { try consequences.decide(&decision) }
}

extension [AggregateReference] {
  /// Each stream once.
  var uniqued: [AggregateReference] {
    var seen: Set<StreamID> = []
    return filter { seen.insert($0.stream).inserted }
  }
}
