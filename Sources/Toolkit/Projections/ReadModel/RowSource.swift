public import EventSourcing

/// The events of one aggregate, and the rows that they change.
public struct RowSource<Row: Sendable>: Sendable {
  /// How events map to rows. If these functions throw, the event is at fault.
  @usableFromInline
  enum Rows: Sendable {
    /// One row for each stream; nil before it exists.
    case ofStreams(key: @Sendable (StreamID) -> String, apply: @Sendable (RecordedEvent, inout Row?) throws -> Void)
    /// Rows whose keys each event names.
    case ofEvents(
      @Sendable (RecordedEvent) throws -> (keys: [String], apply: @Sendable (String, inout Row?) throws -> Void))
  }

  /// Folds the streams.
  package let aggregate: any Aggregate.Type
  /// The streams' category. This build must know all its events.
  package let category: String
  let rows: Rows
  /// Whether each stream has one row whose key is the stream's id.
  package let isByStreamID: Bool

  @usableFromInline
  init(_ aggregate: any Aggregate.Type, isByStreamID: Bool = false, _ rows: Rows) {
    self.aggregate = aggregate
    category = aggregate.category
    self.isByStreamID = isByStreamID
    self.rows = rows
  }

  /// Creates a source with one row for each stream. The row's key is the stream's id.
  /// - Parameters:
  ///   - type: the aggregate of the streams.
  ///   - apply: folds one event into the row. The row is nil before it exists; set it to nil to delete it. If this
  ///     throws, the stream is parked.
  // Inlinable, so that the work for each event is specialized for its types.
  @inlinable
  public init<State: Aggregate>(
    _ type: State.Type, _ apply: @escaping @Sendable (Recorded<State.Event>, inout Row?) throws -> Void
  ) {
    self.init(
      State.self, isByStreamID: true,
      .ofStreams(key: { String($0.id) }) { try apply(Recorded($0), &$1) })
  }

  /// Creates a source with one row for each stream, with another key than the stream's id.
  /// - Parameters:
  ///   - type: the aggregate of the streams.
  ///   - key: returns the key of a stream's row; different for each stream.
  ///   - apply: folds one event into the row. If this throws, the stream is parked.
  @inlinable
  public init<State: Aggregate>(
    _ type: State.Type, key: @escaping @Sendable (StreamID) -> String,
    _ apply: @escaping @Sendable (Recorded<State.Event>, inout Row?) throws -> Void
  ) {
    self.init(State.self, .ofStreams(key: key) { try apply(Recorded($0), &$1) })
  }

  /// Creates a source whose events determine the keys of their rows.
  /// - Parameters:
  ///   - type: the aggregate of the streams.
  ///   - keys: returns the keys of the rows that the event changes, each once; empty if it changes none. Streams cannot
  ///     share a row: the second stream's event fails.
  ///   - apply: folds one event into the row of a key. If this throws, the stream is parked.
  @inlinable
  public init<State: Aggregate>(
    _ type: State.Type, keys: @escaping @Sendable (Recorded<State.Event>) -> [String],
    _ apply: @escaping @Sendable (Recorded<State.Event>, _ key: String, inout Row?) throws -> Void
  ) {
    self.init(
      State.self,
      .ofEvents { event in
        let recorded = try Recorded<State.Event>(event)
        return (keys(recorded), { try apply(recorded, $0, &$1) })
      })
  }
}

/// Thrown by a read model if the row, or the part of it that an event changes, does not exist. The event then comes
/// before the one that creates it.
public struct MissingRow: Error, CustomStringConvertible {
  public let description: String
  /// Creates an error about a row that an event should find.
  /// - Parameter what: the missing thing, such as "the row".
  public init(_ what: String = "the row") { description = "\(what) that the event changes is not there" }
}
