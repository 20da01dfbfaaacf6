public import EventSourcing

/// The events of one aggregate, and the rows that they make.
public struct RowSource<Row: Sendable>: Sendable {
  /// Whose rows there are. What it throws is the event's fault.
  @usableFromInline
  enum Rows: Sendable {
    /// A row for each stream: nil before it is there.
    case ofStreams(key: @Sendable (StreamID) -> String, apply: @Sendable (RecordedEvent, inout Row?) throws -> Void)
    /// Rows that each event names.
    case ofEvents(
      @Sendable (RecordedEvent) throws -> (keys: [String], apply: @Sendable (String, inout Row?) throws -> Void))
  }

  /// Of the streams. Of these every event must be known.
  package let category: String
  let rows: Rows
  /// There is a row for each stream, whose key is the stream's id.
  package let isByStreamID: Bool

  @usableFromInline
  init(category: String, isByStreamID: Bool = false, _ rows: Rows) {
    self.category = category
    self.isByStreamID = isByStreamID
    self.rows = rows
  }

  /// A row for each stream, with the stream's id as its key.
  /// - Parameter apply: folds one event into the row: nil before the row is there; set to nil to delete it. What it throws parks
  ///   the stream.
  // Inlinable, so that what is done for each event is compiled for its types.
  @inlinable
  public init<State: Aggregate>(
    _: State.Type, _ apply: @escaping @Sendable (Recorded<State.Event>, inout Row?) throws -> Void
  ) {
    self.init(
      category: State.category, isByStreamID: true,
      .ofStreams(key: { String($0.id) }) { try apply(Recorded($0), &$1) })
  }

  /// A row for each stream, with a key of another kind.
  /// - Parameters:
  ///   - key: of a stream's row; no two streams have the same.
  ///   - apply: folds one event into the row. What it throws parks the stream.
  @inlinable
  public init<State: Aggregate>(
    _: State.Type, key: @escaping @Sendable (StreamID) -> String,
    _ apply: @escaping @Sendable (Recorded<State.Event>, inout Row?) throws -> Void
  ) {
    self.init(category: State.category, .ofStreams(key: key) { try apply(Recorded($0), &$1) })
  }

  /// Rows whose keys follow from the event.
  /// - Parameters:
  ///   - keys: of the rows that the event concerns, each once; none where it concerns none. No two streams share a row: the
  ///     event of another stream is refused.
  ///   - apply: folds one event into the row of a key. What it throws parks the stream.
  @inlinable
  public init<State: Aggregate>(
    _: State.Type, keys: @escaping @Sendable (Recorded<State.Event>) -> [String],
    _ apply: @escaping @Sendable (Recorded<State.Event>, _ key: String, inout Row?) throws -> Void
  ) {
    self.init(
      category: State.category,
      .ofEvents { event in
        let recorded = try Recorded<State.Event>(event)
        return (keys(recorded), { try apply(recorded, $0, &$1) })
      })
  }
}

/// An event with where and when it was recorded.
public struct Recorded<Event: DomainEvent>: Sendable {
  public let event: Event
  private let recorded: RecordedEvent

  /// - Throws: `EventDecodingError`
  public init(_ recorded: RecordedEvent) throws(EventDecodingError) {
    event = try Event(recorded)
    self.recorded = recorded
  }

  public var stream: StreamID { recorded.stream }
  /// The stream's id: the part of its name behind the category.
  public var id: String { String(recorded.stream.id) }
  /// Of the stream, with this event.
  public var version: Version { recorded.version }
  public var position: Position { recorded.position }
  /// By the store's clock.
  public var recordedAt: Timestamp { recorded.recordedAt }
  /// As it is stored: a JSON object.
  public var data: [UInt8] { recorded.data }
}

/// Thrown by a read model that finds no row, or not the part of it that an event is about: the event comes before the one that
/// makes it.
public struct MissingRow: Error, CustomStringConvertible {
  public let description: String
  /// - Parameter what: what is missing.
  public init(_ what: String = "the row") { description = "\(what) that the event changes is not there" }
}
