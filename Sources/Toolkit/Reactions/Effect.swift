public import EventSourcing
public import Failures

/// Calls the world outside when events happen: at least once for each event, and in the order of each stream's events.
///
///     struct SendReceipt: Effect {
///       struct Call: Equatable { var account: String, amount: Int64 }
///       let name = "send-receipt"
///       var triggers: [EffectTrigger<Call>] {
///         [
///           EffectTrigger(Account.self) { event, calls in
///             guard case .deposited(let amount) = event.event else { return }
///             calls.make(Call(account: event.id, amount: amount))
///           }
///         ]
///       }
///
///       func perform(_ call: Call, _ context: EffectContext) async throws {
///         try await printer.print(call.amount, for: call.account, idempotencyKey: context.key)
///       }
///     }
///
/// `triggers` are pure, and say which calls follow from an event. `perform` makes one call. The checkpoint moves once it has
/// succeeded. After an error it is tried again, with back-off; meanwhile the stream waits, and all others go on. After the last
/// attempt the stream is parked for a person.
public protocol Effect: Reacting {
  /// Everything that one call needs, as a value.
  associatedtype Call: Equatable & Sendable

  /// The events that lead to calls, each with its aggregate.
  var triggers: [EffectTrigger<Call>] { get }
  /// How often and how long a call is attempted. The default is `EffectLimits()`.
  var limits: EffectLimits { get }

  /// Makes a call. It ends when its task is cancelled, as it is after `limits.timeLimit`.
  /// - Throws: `PermanentFailure`, or another error whose `FailureKind` is `refused`, if no further attempt can help; any other
  ///   error for another attempt.
  func perform(_ call: Call, _ context: EffectContext) async throws
}

/// When, how often and how many calls of an effect are made.
public struct EffectLimits: Sendable {
  /// Calls that each reactor makes at once, at most: 1 to 1,000.
  public var concurrency = 8
  /// Calls in a second that all reactors begin together, at most; nil for no limit.
  public var rate: Double?
  /// How long one call may take.
  public var timeLimit = Duration.seconds(30)
  /// Attempts at one call until its stream waits for a person: 1 to 1,000.
  public var attempts = 10
  /// The pause after the first attempt, at most and at least half of it. It doubles with each attempt.
  public var firstDelay = Duration.seconds(1)
  /// The pause after any attempt, at most.
  public var longestDelay = Duration.seconds(300)

  /// Creates limits with the defaults.
  public init() {}

  /// Why they cannot be kept; nil for nothing.
  var problem: String? {
    if !(1...1_000).contains(concurrency) { return "concurrency must be 1 to 1,000" }
    if !(1...1_000).contains(attempts) { return "attempts must be 1 to 1,000" }
    if let rate, !(rate.isFinite && rate > 0) { return "rate must be above 0" }
    let isPositive = timeLimit > .zero && firstDelay > .zero && longestDelay >= firstDelay
    return isPositive ? nil : "timeLimit and firstDelay must be above 0, and longestDelay no less than firstDelay"
  }
}

/// An error of a call that no further attempt can help: the stream waits for a person at once.
public struct PermanentFailure: ClassifiedError, CustomStringConvertible {
  public let description: String
  /// `refused`: no further attempt can help.
  public var failureKind: FailureKind { .refused }

  /// Creates an error.
  /// - Parameter reason: What is wrong; `counterflow parked` shows it.
  public init(_ reason: String) { description = reason }
}

/// The calls that follow from one event. They are made one after the other.
public struct Calls<Call: Equatable & Sendable>: Sendable {
  private(set) var made: [(slot: String, call: Call)] = []
  /// What is wrong with the slots; nil for nothing.
  private(set) var problem: String?

  /// Makes a call.
  /// - Parameters:
  ///   - call: everything that the call needs.
  ///   - slot: tells the calls of one event apart in their idempotency keys, now and in later versions: at most 100
  ///     bytes, not an ordinal. In one event each slot stands once; the only call needs none.
  public mutating func make(_ call: Call, slot: String = "") {
    if slot.utf8.count > 100 { problem = problem ?? "the slot '\(slot)' has more than 100 bytes" }
    if made.contains(where: { ExactText($0.slot) == ExactText(slot) }) {
      problem = problem ?? "the slot '\(slot)' is there twice"
    }
    made.append((slot, call))
  }
}

/// The events of one aggregate, and the calls that follow from each.
public struct EffectTrigger<Call: Equatable & Sendable>: Sendable {
  let aggregate: any Aggregate.Type
  let category: String
  let react: @Sendable (RecordedEvent, inout Calls<Call>) throws -> Void

  /// Names the aggregate whose events lead to calls.
  /// - Parameters:
  ///   - type: the aggregate of the streams.
  ///   - react: says which calls follow from an event: pure, and quick. The same event gives the same calls each time.
  ///     What it throws parks the stream.
  public init<State: Aggregate>(
    _ type: State.Type, _ react: @escaping @Sendable (Recorded<State.Event>, inout Calls<Call>) throws -> Void
  ) {
    (aggregate, category) = (State.self, State.category)
    self.react = { event, calls in try react(try Recorded(event), &calls) }
  }
}

extension Effect {
  /// The default limits.
  public var limits: EffectLimits { EffectLimits() }

  /// What the engine runs: the effect without its types.
  public var definition: ReactionDefinition {
    let triggers = triggers
    return ReactionDefinition(
      name: name, version: version, start: start, schedules: schedules, categories: Set(triggers.map(\.category)),
      aggregates: triggers.map(\.aggregate), isCorrelated: false,
      effect: EffectDefinition(limits: limits) { event in
        try calls(on: event).map { made in
          EffectDefinition.Call(slot: made.slot) { try await perform(made.call, $0) }
        }
      }
    ) { ReactionDefinition.Answer(sequence: $0.stream, appends: []) }
  }

  /// The calls that follow from an event, with their slots.
  /// - Throws: what a trigger throws, and `EventDecodingError`.
  package func calls(on event: RecordedEvent) throws -> [(slot: String, call: Call)] {
    var calls = Calls<Call>()
    for trigger in triggers where trigger.category == event.stream.category { try trigger.react(event, &calls) }
    if let problem = calls.problem { throw ReactionFailure(description: problem) }
    return calls.made
  }
}

/// An effect with its type of calls hidden.
package struct EffectDefinition: Sendable {
  package struct Call: Sendable {
    let slot: String
    let perform: @Sendable (EffectContext) async throws -> Void
  }

  package let limits: EffectLimits
  /// The calls that follow from an event.
  let calls: @Sendable (RecordedEvent) throws -> [Call]
}
