public import Failures
public import FoundationEssentials
internal import JSON

/// The state that a stream's events add up to, as far as decisions need it.
public protocol Aggregate: Sendable {
  associatedtype Event: DomainEvent

  /// The first part of the streams' names.
  static var category: String { get }

  /// The state before the first event.
  init()

  /// Folds one event in. It does not fail: what has happened, has happened.
  mutating func apply(_ event: Event)

  /// Bytes that the state takes in memory, roughly: bounds the cache. Override it where the state holds
  /// texts or collections.
  var footprint: Int { get }
}

extension Aggregate {
  /// - Parameter id: what cannot be one gives a stream that no command may use.
  public static func stream(_ id: String) -> StreamID {
    guard !StreamID.isValid(category: category, id: id) else { return StreamID(category: category, id: id) }
    // A category that cannot be one is said at the start, where it is known; here it must not end the process.
    let possible = category.isEmpty ? "none" : category.prefix(50).replacing("-", with: "_")
    return StreamID(rawValue: "\(possible)-\(Unicode.Scalar(noID))")
  }

  public var footprint: Int { MemoryLayout<Self>.size }

  mutating func apply(recorded: RecordedEvent) throws(EventDecodingError) { apply(try Event(recorded)) }
}

/// Stands for an id that cannot be one, and is none itself: a control character.
private let noID: UInt8 = 1

/// A stream that a command reads or writes, and the aggregate that folds it.
public struct AggregateReference: Sendable {
  public let stream: StreamID
  /// The stream is expected not to be there, so that it need not be looked up; the guard proves it.
  public let isExpectedNew: Bool
  let type: any Aggregate.Type

  public init<State: Aggregate>(_ type: State.Type, _ id: String, isExpectedNew: Bool = false) {
    stream = State.stream(id)
    self.isExpectedNew = isExpectedNew
    self.type = type
  }

  /// Whether the id that it was made of can be one.
  public var isValid: Bool { stream.rawValue.utf8.last != noID }

  /// nil for an aggregate without snapshots.
  public var snapshotPolicy: SnapshotPolicy? { (type as? any SnapshottingAggregate.Type)?.snapshotPolicy }
}

/// A stream's folded state, and up to where it goes.
public struct StreamState: Sendable {
  public private(set) var state: any Aggregate
  public private(set) var version: Version
  /// The position and id of the stream's last event.
  public private(set) var position: Position
  public private(set) var eventID: UUID?
  /// The version of the newest snapshot that is known of.
  public private(set) var snapshotVersion: Version

  public var cursor: StreamCursor { StreamCursor(version: version, position: position) }

  /// The state of a stream that is not there.
  public init(new reference: AggregateReference) {
    (state, version, position, snapshotVersion) = (reference.type.init(), .none, .start, .none)
  }

  /// - Throws: `EventDecodingError` for a snapshot that this build cannot read: fold the events instead.
  public init(_ snapshot: Snapshot, of reference: AggregateReference) throws(EventDecodingError) {
    guard let type = reference.type as? any SnapshottingAggregate.Type else {
      throw .malformed("\(reference.type) has no snapshots")
    }
    do { state = try JSON(parsing: snapshot.state).decode(type) } catch { throw .malformed("\(error)") }
    (version, position, eventID) = (snapshot.version, snapshot.position, snapshot.eventID)
    snapshotVersion = snapshot.version
  }

  /// - Throws: `EventDecodingError` for an event that this build cannot read.
  public mutating func apply(_ events: some Sequence<RecordedEvent>) throws(EventDecodingError) {
    for event in events {
      try state.apply(recorded: event)
      (version, position, eventID) = (event.version, event.position, event.id)
    }
  }

  /// - Returns: false when another aggregate folds this stream; nothing is changed then.
  mutating func apply<State: Aggregate>(_ event: State.Event, as _: State.Type) -> Bool {
    guard var typed = state as? State else { return false }
    typed.apply(event)
    state = typed
    version = version.advanced(by: 1)
    return true
  }

  /// Where the events that were decided have come to stand.
  public mutating func moved(to position: Position, _ eventID: UUID) {
    (self.position, self.eventID) = (position, eventID)
  }

  /// A snapshot, once one is due; it counts as taken then.
  /// - Throws: where the state cannot be encoded.
  public mutating func dueSnapshot(_ stream: StreamID) throws -> Snapshot? {
    guard let aggregate = state as? any SnapshottingAggregate, let eventID else { return nil }
    let policy = type(of: aggregate).snapshotPolicy
    guard version.rawValue - snapshotVersion.rawValue >= Int64(policy.interval) else { return nil }
    snapshotVersion = version
    var json = JSONWriter()
    try json.write(encoding: aggregate)
    return Snapshot(
      stream: stream, schemaVersion: policy.schemaVersion, version: version, position: position, eventID: eventID,
      state: json.bytes)
  }
}

/// What a command wants done, decided on the state of the streams that it names.
public protocol Command: Sendable {
  /// For metrics, logs and traces: the type's name, if you do not say.
  static var name: String { get }

  /// Every stream that `decide` reads or writes; at least one. A command that uses another one fails, by itself.
  var streams: [AggregateReference] { get }

  /// Emits events, or none where nothing is to be done, or throws: pure, and quick. It may be called
  /// several times, each time with newer state.
  func decide(_ decision: inout Decision) throws(Rejection)
}

extension Command {
  public static var name: String { String(describing: Self.self) }
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
  /// The first stream that the command used without naming it: whatever it decided is void then.
  public private(set) var misuse: UndeclaredStream?

  public init(states: [StreamID: StreamState]) { self.states = states }

  /// The state of one of the command's streams, what it has emitted so far included; of any other stream the state before
  /// the first event, which makes the whole decision void.
  public mutating func state<State: Aggregate>(_: State.Type, _ id: String) -> State {
    if let state = states[State.stream(id)]?.state as? State { return state }
    misused(State.self, id)
    return State()
  }

  /// Emits an event to one of the command's streams; to any other stream it makes the whole decision void.
  public mutating func emit<State: Aggregate>(_ event: State.Event, to type: State.Type, _ id: String) {
    let stream = State.stream(id)
    guard states[stream]?.apply(event, as: type) == true else { return misused(type, id) }
    emitted.append(Emitted(stream: stream, event: event))
  }

  private mutating func misused<State: Aggregate>(_ type: State.Type, _ id: String) {
    misuse = misuse ?? UndeclaredStream(stream: State.stream(id), aggregate: "\(type)")
  }
}

/// A command used a stream that is not among its `streams`, or is there as another aggregate.
public struct UndeclaredStream: ClassifiedError, Hashable, CustomStringConvertible {
  public let stream: StreamID
  public let aggregate: String

  public var failureKind: FailureKind { .programmingError }
  public var description: String { "\(stream) is not among the command's streams as \(aggregate): add it to them" }
}

/// A command on one stream: most are.
///
///     struct Withdraw: StreamCommand, Codable {
///       var amount: Int64
///
///       func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
///         guard amount <= account.balance else { throw Rejection("overdrawn", title: "Too little money", detail: "…") }
///         return [.withdrawn(amount: amount)]
///       }
///     }
public protocol StreamCommand: Sendable {
  associatedtype State: Aggregate

  /// The events that it comes to, none where nothing is to be done, or throws: pure, and quick. It may be called several times,
  /// each time with newer state.
  func decide(_ state: State) throws(Rejection) -> [State.Event]
}

/// A command on one stream, with the stream that it is for.
public struct Addressed<Wrapped: StreamCommand>: Command {
  public static var name: String { String(describing: Wrapped.self) }

  private let command: Wrapped
  private let id: String
  private let isExpectedNew: Bool

  /// - Parameter isExpectedNew: the stream is expected not to be there, so that it need not be looked up.
  public init(_ command: Wrapped, to id: String, isExpectedNew: Bool = false) {
    (self.command, self.id, self.isExpectedNew) = (command, id, isExpectedNew)
  }

  public var streams: [AggregateReference] {
    [AggregateReference(Wrapped.State.self, id, isExpectedNew: isExpectedNew)]
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    for event in try command.decide(decision.state(Wrapped.State.self, id)) {
      decision.emit(event, to: Wrapped.State.self, id)
    }
  }
}
