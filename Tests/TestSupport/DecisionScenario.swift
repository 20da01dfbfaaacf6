public import EventSourcing

/// Given these events, when this command, then these events or this rejection: a decision without any
/// server.
///
///     try Given().event(ProductEvent.registered(…), of: Product.self, "A").when(command) == […]
public struct Given: Sendable {
  private var history: [StreamID: [any DomainEvent]] = [:]

  public init() {}

  public func event<State: Aggregate>(_ event: State.Event, of _: State.Type, _ id: String) -> Given {
    var given = self
    given.history[State.stream(id), default: []].append(event)
    return given
  }

  /// Decides, on states that were folded from the events' encoded form, as from a store.
  /// - Returns: what the command emits, encoded: `stream Type {json}`.
  public func when(_ command: some Command) throws -> [String] {
    try decide(command).map {
      let new = try $0.event.new(in: $0.stream, id: .v7(), metadata: [])
      return "\(new.stream) \(new.type) \(String(decoding: new.data, as: UTF8.self))"
    }
  }

  /// - Returns: what the command emits.
  public func decide(_ command: some Command) throws -> [Decision.Emitted] {
    var states: [StreamID: StreamState] = [:]
    var position: Int64 = 0
    for reference in command.streams {
      var state = StreamState(new: reference)
      for (index, event) in (history[reference.stream] ?? []).enumerated() {
        position += 1
        let new = try event.new(in: reference.stream, id: .v7(), metadata: [])
        try state.apply([
          RecordedEvent(
            position: Position(position), stream: new.stream, version: Version(Int64(index) + 1), hash: new.stream.hash,
            id: new.id, type: new.type, schemaVersion: new.schemaVersion, data: new.data, metadata: new.metadata,
            recordedAt: .now)
        ])
      }
      states[reference.stream] = state
    }
    var decision = Decision(states: states)
    do { try command.decide(&decision) } catch { throw decision.misuse ?? error }
    if let misuse = decision.misuse { throw misuse }
    return decision.emitted
  }
}
