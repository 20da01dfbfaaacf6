/// The state that a stream's events add up to, as far as decisions need it.
public protocol Aggregate: Sendable {
  associatedtype Event: DomainEvent

  /// The first part of the streams' names.
  static var category: String { get }

  /// The state before the first event.
  init()

  /// Folds one event in. It does not fail: what has happened, has happened.
  mutating func apply(_ event: Event)
}

extension Aggregate {
  public static func stream(_ id: String) -> StreamID { StreamID(category: category, id: id) }

  mutating func apply(recorded: RecordedEvent) throws(EventDecodingError) { apply(try Event(recorded)) }
}

/// A stream that a command reads or writes, and the aggregate that folds it.
public struct AggregateReference: Sendable {
  public let stream: StreamID
  /// The stream is expected not to be there, so that it need not be looked up; the guard proves it.
  public let isExpectedNew: Bool
  let initial: @Sendable () -> any Aggregate

  public init<State: Aggregate>(_ type: State.Type, _ id: String, isExpectedNew: Bool = false) {
    stream = State.stream(id)
    self.isExpectedNew = isExpectedNew
    initial = { State() }
  }
}

/// A stream's folded state, and up to where it goes.
public struct StreamState: Sendable {
  public private(set) var state: any Aggregate
  public private(set) var version: Version
  /// The position of the stream's last event.
  public internal(set) var position: Position

  /// The state of a stream that is not there.
  public init(new reference: AggregateReference) {
    (state, version, position) = (reference.initial(), .none, .start)
  }

  /// - Throws: `EventDecodingError` for an event that this build cannot read.
  public mutating func apply(_ events: some Sequence<RecordedEvent>) throws(EventDecodingError) {
    for event in events {
      try state.apply(recorded: event)
      (version, position) = (event.version, event.position)
    }
  }

  mutating func apply<State: Aggregate>(_ event: State.Event, as _: State.Type) {
    guard var typed = state as? State else { preconditionFailure("\(State.self) does not fold this stream") }
    typed.apply(event)
    state = typed
    version = version.advanced(by: 1)
  }

  public mutating func moved(to position: Position) { self.position = position }
}

/// What a command wants done, decided on the state of the streams that it names.
public protocol Command: Sendable {
  associatedtype Rejection: Error & Sendable

  /// Every stream that `decide` reads or writes.
  var streams: [AggregateReference] { get }

  /// Emits events, or none where nothing is to be done, or throws: pure, and quick. It may be called
  /// several times, each time with newer state.
  func decide(_ decision: inout Decision) throws(Rejection)
}

/// What a command sees while it decides, and the events that it emits.
public struct Decision: Sendable {
  /// An emitted event with its stream.
  public struct Emitted: Sendable {
    public let stream: StreamID
    public let event: any DomainEvent
  }

  public private(set) var states: [StreamID: StreamState]
  public private(set) var emitted: [Emitted] = []

  public init(states: [StreamID: StreamState]) { self.states = states }

  /// The state of one of the command's streams, what it has emitted so far included.
  /// - Precondition: the stream is one of the command's `streams`.
  public func state<State: Aggregate>(_: State.Type, _ id: String) -> State {
    guard let state = states[State.stream(id)]?.state as? State else {
      preconditionFailure("\(State.stream(id)) is not among the streams that the command names")
    }
    return state
  }

  /// Emits an event.
  /// - Precondition: the stream is one of the command's `streams`.
  public mutating func emit<State: Aggregate>(_ event: State.Event, to type: State.Type, _ id: String) {
    let stream = State.stream(id)
    precondition(states[stream] != nil, "\(stream) is not among the streams that the command names")
    states[stream]!.apply(event, as: type)
    emitted.append(Emitted(stream: stream, event: event))
  }
}
