public import EventSourcing
internal import FoundationEssentials
internal import JSON

/// A result that a test does not expect.
public struct Mismatch: Error, CustomStringConvertible {
  public let description: String
}

/// The events before a command or a query: the start of a test without servers and clocks.
///
///     try given(Account.self, .opened(owner: "Ada"), .deposited(amount: 5))
///       .when(Withdraw(amount: 3))
///       .then(Account.self, .withdrawn(amount: 3))
///
/// Events are encoded and decoded as in the store, so an event that cannot be stored fails here.
/// - Parameters:
///   - type: The aggregate of the stream.
///   - id: The id of the stream.
///   - events: The events of the stream, in order, from the first one.
/// - Throws: The errors of encoding them, and `EventDecodingError`.
public func given<State: Aggregate>(_ type: State.Type, id: String = "1", _ events: State.Event...) throws -> Given {
  try Given().adding(State.self, id, events)
}

/// The start of a test without any events.
public func givenNothing() -> Given { Given() }

/// Events that have happened before a test's command.
public struct Given: Sendable {
  /// In the order of their positions. Positions are dense, and the times are one second apart.
  public private(set) var events: [RecordedEvent] = []

  /// Adds events of a stream.
  /// - Throws: The errors of encoding them, and `EventDecodingError`.
  public func and<State: Aggregate>(_: State.Type, id: String = "1", _ events: State.Event...) throws -> Given {
    try adding(State.self, id, events)
  }

  fileprivate func adding<State: Aggregate>(_: State.Type, _ id: String, _ events: [State.Event]) throws -> Given {
    var given = self
    for event in events { given.events.append(try given.recorded(event, State.stream(id))) }
    return given
  }

  private func recorded<Event: DomainEvent>(_ event: Event, _ stream: StreamID) throws -> RecordedEvent {
    let new = try event.new(in: stream, id: .v7(), metadata: Array("{}".utf8))
    let recorded = RecordedEvent(
      position: Position(Int64(events.count) + 1), stream: stream,
      version: Version(Int64(events.count { $0.stream == stream }) + 1), hash: stream.hash, id: new.id, type: new.type,
      schemaVersion: new.schemaVersion, data: new.data, metadata: new.metadata,
      // The first event is from 2026-01-01T00:00:01Z.
      recordedAt: Timestamp(microsecondsSince1970: (1_767_225_601 + Int64(events.count)) * 1_000_000))
    _ = try Event(recorded)
    return recorded
  }

  /// Decides a command on one stream.
  /// - Throws: The same errors as for other commands.
  public func when<C: StreamCommand>(_ command: C, id: String = "1") throws -> Outcome {
    try when(Addressed(command, to: id))
  }

  /// Decides a command.
  /// - Throws: `UndeclaredStream` if it uses a stream that is not among its `streams`; `Mismatch` if it names no
  ///   stream; the errors of encoding its events.
  public func when(_ command: some Command) throws -> Outcome {
    guard !command.streams.isEmpty else { throw Mismatch(description: "\(type(of: command)) names no stream") }
    guard command.streams.allSatisfy(\.isValid) else { return Outcome(events: [], after: self, rejection: .invalidID) }
    var states: [StreamID: StreamState] = [:]
    for reference in command.streams {
      var state = StreamState(new: reference)
      try state.apply(events.filter { $0.stream == reference.stream })
      states[reference.stream] = state
    }
    var decision = Decision(states: states)
    var rejection: Rejection?
    do throws(Rejection) { try command.decide(&decision) } catch { rejection = error }
    if let misuse = decision.misuse { throw misuse }
    if let rejection { return Outcome(events: [], after: self, rejection: rejection) }
    var after = self
    for emitted in decision.emitted { after.events.append(try after.recorded(emitted.event, emitted.stream)) }
    return Outcome(
      events: Array(after.events.dropFirst(events.count)), after: after, rejection: nil, scheduled: decision.scheduled)
  }
}

/// The outcome of a command.
public struct Outcome: Sendable {
  /// The events of the command, in order. Empty if it was rejected or had nothing to do.
  public let events: [RecordedEvent]
  /// All events so far, including those of the command.
  public let after: Given
  /// Why the command was rejected; nil if it was not.
  public let rejection: Rejection?
  /// The commands that it scheduled, in order.
  public var scheduled: [Scheduled] = []

  /// Checks that the command added exactly these events to the stream, in this order.
  /// - Throws: `Mismatch` otherwise.
  @discardableResult
  public func then<State: Aggregate>(_: State.Type, id: String = "1", _ expected: State.Event...) throws -> Outcome {
    let stream = State.stream(id)
    let wanted = try expected.map { event in
      let new = try event.new(in: stream, id: .v7(), metadata: [])
      return text(new.type, new.data)
    }
    try check(
      rejection == nil && events.filter { $0.stream == stream }.map { text($0.type, $0.data) } == wanted,
      "\(wanted.isEmpty ? "nothing" : wanted.joined(separator: ", ")) in \(stream)")
    return self
  }

  /// Checks that the command had nothing to do.
  /// - Throws: `Mismatch` otherwise.
  public func thenNothing() throws { try check(rejection == nil && events.isEmpty, "nothing") }

  /// Checks that the command was rejected.
  /// - Parameter code: The code of the rejection.
  /// - Throws: `Mismatch` otherwise.
  public func thenRejected(_ code: String) throws { try check(rejection?.code == code, "the rejection \(code)") }

  private func check(_ holds: Bool, _ expected: String) throws {
    guard !holds else { return }
    throw Mismatch(description: "expected \(expected), found \(self)")
  }
}

private func text(_ type: String, _ data: [UInt8]) -> String { "\(type) \(String(decoding: data, as: UTF8.self))" }

extension Outcome: CustomStringConvertible {
  public var description: String {
    if let rejection { return "the rejection \(rejection.code): \(rejection)" }
    guard !events.isEmpty else { return "nothing" }
    return events.map { "\(text($0.type, $0.data)) in \($0.stream)" }.joined(separator: ", ")
  }
}
