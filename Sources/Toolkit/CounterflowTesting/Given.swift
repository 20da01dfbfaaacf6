public import EventSourcing
internal import FoundationEssentials
internal import JSON

/// Something is otherwise than a test expects.
public struct Mismatch: Error, CustomStringConvertible {
  public let description: String
}

/// What has happened before a command or a query: the start of a test, without servers and clocks.
///
///     try given(Account.self, .opened(owner: "Ada"), .deposited(amount: 5))
///       .when(Withdraw(amount: 3))
///       .then(Account.self, .withdrawn(amount: 3))
///
/// Events are written and read as the store's are, so that what cannot be stored fails here.
/// - Parameters:
///   - id: of the stream.
///   - events: of the stream, in order, from the first one on.
/// - Throws: what encoding them throws, and `EventDecodingError`.
public func given<State: Aggregate>(_: State.Type, id: String = "1", _ events: State.Event...) throws -> Given {
  try Given().adding(State.self, id, events)
}

/// Nothing has happened.
public func givenNothing() -> Given { Given() }

public struct Given: Sendable {
  /// In the order of their positions, which are dense, and a second apart.
  public private(set) var events: [RecordedEvent] = []

  /// - Throws: what encoding them throws, and `EventDecodingError`.
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
      // From 2026-01-01T00:00:01Z on.
      recordedAt: Timestamp(microsecondsSince1970: (1_767_225_601 + Int64(events.count)) * 1_000_000))
    _ = try Event(recorded)
    return recorded
  }

  /// Decides a command for one stream.
  /// - Throws: as the other one does.
  public func when<C: StreamCommand>(_ command: C, id: String = "1") throws -> Outcome {
    try when(Addressed(command, to: id))
  }

  /// Decides a command.
  /// - Throws: `UndeclaredStream` for a command that uses a stream which is not among its `streams`; `Mismatch` for one that has
  ///   none; what encoding its events throws.
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
    return Outcome(events: Array(after.events.dropFirst(events.count)), after: after, rejection: nil)
  }
}

/// What a command came to.
public struct Outcome: Sendable {
  /// In order; none where it was rejected, or nothing was to be done.
  public let events: [RecordedEvent]
  /// What has happened then, these events with it.
  public let after: Given
  public let rejection: Rejection?

  /// These events, in this order, and no others in this stream.
  /// - Throws: `Mismatch` for anything else.
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

  /// Nothing was to be done.
  /// - Throws: `Mismatch` for anything else.
  public func thenNothing() throws { try check(rejection == nil && events.isEmpty, "nothing") }

  /// It was rejected.
  /// - Parameter code: of the rejection.
  /// - Throws: `Mismatch` for anything else.
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
