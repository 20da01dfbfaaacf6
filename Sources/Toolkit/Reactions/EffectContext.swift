public import EventSourcing
public import Logging

/// What a call knows besides its own value.
public struct EffectContext: Sendable {
  /// The same at each attempt: `reaction/NAME/EVENT-ID`, and `/SLOT`. Hand it on, so that the receiver can tell a repeated call
  /// from a new one.
  public let key: String
  /// 1 for the first attempt.
  public let attempt: Int
  /// When the attempt began, on the write store's clock.
  public let time: Timestamp
  /// When the event was recorded, on the same clock.
  public let recordedAt: Timestamp
  /// Its entries name the effect, the stream and the key.
  public let logger: Logger
  let store: any StreamStore
  /// Opens sealed data of a person.
  let opening: @Sendable (_ sealed: String, _ person: String) async throws -> [UInt8]?

  /// Returns the present state of an aggregate, which may be newer than the event; its initial state if there is no stream.
  /// - Throws: `PermanentFailure` for an invalid id, `EventStoreError`, and `EventDecodingError`.
  public func load<State: Aggregate>(_: State.Type, _ id: String) async throws -> State {
    let reference = AggregateReference(State.self, id)
    guard reference.isValid else { throw PermanentFailure("'\(id)' is no id of a stream") }
    return try await store.state(State.self, id) { error in
      logger.warning("a snapshot cannot be read", metadata: ["stream": "\(reference.stream)", "error": "\(error)"])
    }
  }

  /// Opens sealed personal data.
  /// - Returns: nil if the person has been erased.
  /// - Throws: `SealError`, which is permanent, and the errors of the write store.
  public func open(_ sealed: String, of person: String) async throws -> [UInt8]? {
    try await opening(sealed, person)
  }
}
