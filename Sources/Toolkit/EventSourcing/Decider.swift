public import Failures
public import FoundationEssentials
internal import JSON

/// The state of one stream, folded from its events. It holds only what decisions need.
public protocol Aggregate: Sendable {
  /// The type of the stream's events.
  associatedtype Event: DomainEvent

  /// The first part of the streams' names, before the first `-`.
  static var category: String { get }

  /// The state before the first event.
  init()

  /// Applies one event to the state. It cannot fail, because the event has already happened.
  mutating func apply(_ event: Event)

  /// The approximate size of the state in memory, in bytes. It bounds the cache. Override it where the state holds
  /// strings or collections.
  var footprint: Int { get }
}

extension Aggregate {
  /// Returns the aggregate's stream with this id.
  /// - Parameter id: An invalid id gives a stream that no command may use.
  public static func stream(_ id: String) -> StreamID {
    guard !StreamID.isValid(category: category, id: id) else { return StreamID(category: category, id: id) }
    // The application reports an invalid category at startup. Here it must not end the process.
    let possible = category.isEmpty ? "none" : category.prefix(50).replacing("-", with: "_")
    return StreamID(rawValue: "\(possible)-\(Unicode.Scalar(noID))")
  }

  public var footprint: Int { MemoryLayout<Self>.size }

  mutating func apply(recorded: RecordedEvent) throws(EventDecodingError) { apply(try Event(recorded)) }
}

/// Replaces an invalid id. It is a control character, so it is never a valid id itself.
private let noID: UInt8 = 1

/// A stream that a command reads or writes, and the aggregate that folds it.
public struct AggregateReference: Sendable {
  /// The stream.
  public let stream: StreamID
  /// Whether the command expects that the stream does not exist yet. The stream is then not loaded; its expected
  /// version of 0 proves the expectation.
  public let isExpectedNew: Bool
  let type: any Aggregate.Type

  /// Names a stream.
  /// - Parameters:
  ///   - type: The aggregate that folds the stream. Its category is the first part of the stream's name.
  ///   - id: The second part of the stream's name.
  ///   - isExpectedNew: Whether the command expects that the stream does not exist yet.
  public init<State: Aggregate>(_ type: State.Type, _ id: String, isExpectedNew: Bool = false) {
    stream = State.stream(id)
    self.isExpectedNew = isExpectedNew
    self.type = type
  }

  /// Names a stream that exists.
  /// - Parameters:
  ///   - type: an aggregate of the stream's category.
  ///   - stream: the stream.
  package init(_ type: any Aggregate.Type, _ stream: StreamID) {
    (self.stream, self.type, isExpectedNew) = (stream, type, false)
  }

  /// Whether the id and the category are valid.
  public var isValid: Bool { stream.rawValue.utf8.last != noID }

  /// The aggregate's snapshot policy; nil if it has no snapshots.
  public var snapshotPolicy: SnapshotPolicy? { (type as? any SnapshottingAggregate.Type)?.snapshotPolicy }
}

/// A stream's folded state, and the version of its last event.
public struct StreamState: Sendable {
  /// The state after the last event.
  public private(set) var state: any Aggregate
  /// The version of the last event; `Version.none` if there is none.
  public private(set) var version: Version
  /// The position and id of the stream's last event.
  public private(set) var position: Position
  /// The id of the last event; nil if there is none.
  public private(set) var eventID: UUID?
  /// The version of the newest known snapshot.
  public private(set) var snapshotVersion: Version

  /// How far the stream has been read: up to its last event.
  public var cursor: StreamCursor { StreamCursor(version: version, position: position) }

  /// Creates the state of a stream that does not exist.
  public init(new reference: AggregateReference) {
    (state, version, position, snapshotVersion) = (reference.type.init(), .none, .start, .none)
  }

  /// Creates the state that a snapshot holds.
  /// - Throws: `EventDecodingError` if this build cannot read the snapshot. Fold the events instead.
  public init(_ snapshot: Snapshot, of reference: AggregateReference) throws(EventDecodingError) {
    guard let type = reference.type as? any SnapshottingAggregate.Type else {
      throw .malformed("\(reference.type) has no snapshots")
    }
    do { state = try JSON(parsing: snapshot.state).decode(type) } catch { throw .malformed("\(error)") }
    (version, position, eventID) = (snapshot.version, snapshot.position, snapshot.eventID)
    snapshotVersion = snapshot.version
  }

  /// Applies recorded events, in order.
  /// - Throws: `EventDecodingError` if this build cannot read an event.
  public mutating func apply(_ events: some Sequence<RecordedEvent>) throws(EventDecodingError) {
    for event in events {
      try state.apply(recorded: event)
      (version, position, eventID) = (event.version, event.position, event.id)
    }
  }

  /// Applies an event that a command emitted.
  /// - Returns: False if another aggregate folds this stream; then nothing changes.
  mutating func apply<State: Aggregate>(_ event: State.Event, as _: State.Type) -> Bool {
    guard var typed = state as? State else { return false }
    typed.apply(event)
    state = typed
    version = version.advanced(by: 1)
    return true
  }

  /// Sets the position and id of the last event, which are known after the append.
  public mutating func moved(to position: Position, _ eventID: UUID) {
    (self.position, self.eventID) = (position, eventID)
  }

  /// Returns a snapshot if one is due, and counts it as taken.
  /// - Throws: An error if the state cannot be encoded.
  public mutating func dueSnapshot(_ stream: StreamID) throws -> Snapshot? {
    guard let aggregate = state as? any SnapshottingAggregate, eventID != nil else { return nil }
    let policy = type(of: aggregate).snapshotPolicy
    guard version.rawValue - snapshotVersion.rawValue >= Int64(policy.interval) else { return nil }
    snapshotVersion = version
    return try snapshot(of: stream)
  }

  /// Returns a snapshot; nil if the aggregate has none, or the stream does not exist.
  /// - Throws: An error if the state cannot be encoded.
  package func snapshot(of stream: StreamID) throws -> Snapshot? {
    guard let aggregate = state as? any SnapshottingAggregate, let eventID else { return nil }
    let policy = type(of: aggregate).snapshotPolicy
    var json = JSONWriter()
    try json.write(encoding: aggregate)
    return Snapshot(
      stream: stream, schemaVersion: policy.schemaVersion, version: version, position: position, eventID: eventID,
      state: json.bytes)
  }
}

/// A request to change something, decided on the state of the streams that it names.
public protocol Command: Sendable {
  /// The name in metrics, logs and traces. The default is the name of the type.
  static var name: String { get }

  /// Every stream that `decide` reads or writes; at least one. If a command uses another stream, that command alone
  /// fails.
  var streams: [AggregateReference] { get }

  /// Emits events, or none if there is nothing to do, or throws. It must be pure and fast. It may be called several
  /// times, each time with newer state.
  func decide(_ decision: inout Decision) throws(Rejection)
}

extension Command {
  public static var name: String { String(describing: Self.self) }
}

/// The state that a command sees while it decides, and the events that it emits.
public struct Decision: Sendable {
  /// An emitted event and its stream.
  public struct Emitted: Sendable {
    /// The stream to append the event to.
    public let stream: StreamID
    /// The event.
    public let event: any DomainEvent
  }

  /// The state of each of the command's streams, including the events emitted so far.
  public private(set) var states: [StreamID: StreamState]
  /// The events emitted so far, in order.
  public private(set) var emitted: [Emitted] = []
  /// Commands to carry out later, in the order in which they were scheduled.
  public internal(set) var scheduled: [Scheduled] = []
  /// The first stream that the command used without naming it, if any. The whole decision is then void.
  public internal(set) var misuse: UndeclaredStream?

  /// Creates a decision that has emitted nothing.
  /// - Parameter states: The state of each stream that the command names.
  public init(states: [StreamID: StreamState]) { self.states = states }

  /// Returns the state of one of the command's streams, including the events emitted so far. For any other stream it
  /// returns the initial state and makes the whole decision void.
  public mutating func state<State: Aggregate>(_: State.Type, _ id: String) -> State {
    if let state = states[State.stream(id)]?.state as? State { return state }
    misused(State.self, id)
    return State()
  }

  /// Emits an event to one of the command's streams. For any other stream it makes the whole decision void.
  public mutating func emit<State: Aggregate>(_ event: State.Event, to type: State.Type, _ id: String) {
    let stream = State.stream(id)
    guard states[stream]?.apply(event, as: type) == true else { return misused(type, id) }
    emitted.append(Emitted(stream: stream, event: event))
  }

  private mutating func misused<State: Aggregate>(_ type: State.Type, _ id: String) {
    misuse = misuse ?? UndeclaredStream(stream: State.stream(id), aggregate: "\(type)")
  }
}

/// A command used a stream that is not among its `streams`, or is there with another aggregate.
public struct UndeclaredStream: ClassifiedError, Hashable, CustomStringConvertible {
  /// The stream that the command used.
  public let stream: StreamID
  /// The aggregate with which the command used it.
  public let aggregate: String

  /// A programming error: the command's code is wrong.
  public var failureKind: FailureKind { .programmingError }
  public var description: String { "\(stream) is not among the command's streams as \(aggregate): add it to them" }
}

/// A command on one stream. Most commands are of this kind.
///
///     struct Withdraw: StreamCommand, Codable {
///       var amount: Int64
///
///       func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
///         guard amount <= account.balance else {
///           throw Rejection("overdrawn", title: "Too little money", detail: "…")
///         }
///         return [.withdrawn(amount: amount)]
///       }
///     }
public protocol StreamCommand: Sendable {
  /// The aggregate of the command's stream.
  associatedtype State: Aggregate

  /// Returns the events to append, or none if there is nothing to do, or throws. It must be pure and fast. It may be
  /// called several times, each time with newer state.
  func decide(_ state: State) throws(Rejection) -> [State.Event]
}

/// A `StreamCommand` and the id of its stream.
public struct Addressed<Wrapped: StreamCommand>: Command {
  public static var name: String { String(describing: Wrapped.self) }

  private let command: Wrapped
  private let id: String
  private let isExpectedNew: Bool

  /// Addresses a command to a stream.
  /// - Parameters:
  ///   - command: The command.
  ///   - id: The id of the stream.
  ///   - isExpectedNew: Whether the command expects that the stream does not exist yet. The stream is then not loaded.
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

// In the form in which it is stored when it is scheduled.
extension Addressed: Codable where Wrapped: Codable {}
