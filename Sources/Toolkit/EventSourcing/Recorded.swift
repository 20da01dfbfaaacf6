/// An event, with where and when it was recorded.
public struct Recorded<Event: DomainEvent>: Sendable {
  /// The event itself.
  public let event: Event
  private let recorded: RecordedEvent

  /// Decodes a stored event.
  /// - Throws: `EventDecodingError`
  public init(_ recorded: RecordedEvent) throws(EventDecodingError) {
    event = try Event(recorded)
    self.recorded = recorded
  }

  /// The stream of the event.
  public var stream: StreamID { recorded.stream }
  /// The stream's id: the part of its name after the category.
  public var id: String { String(recorded.stream.id) }
  /// The stream's version after this event.
  public var version: Version { recorded.version }
  /// The place among all events of the store.
  public var position: Position { recorded.position }
  /// The time on the write store's clock.
  public var recordedAt: Timestamp { recorded.recordedAt }
  /// The event's data as stored: a JSON object.
  public var data: [UInt8] { recorded.data }
}
