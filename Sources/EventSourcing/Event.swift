public import Failures
public import FoundationEssentials
public import JSON

/// An event to be appended; the store gives it its version and position.
public struct NewEvent: Sendable, Hashable {
  public let stream: StreamID
  public let id: UUID
  public let type: String
  public let schemaVersion: Int
  /// The event itself, a JSON object in UTF-8.
  public let data: [UInt8]
  /// What surrounds it, a JSON object in UTF-8; see `EventMetadata`.
  public let metadata: [UInt8]

  public init(
    stream: StreamID, id: UUID, type: String, schemaVersion: Int, data: [UInt8], metadata: [UInt8]
  ) {
    self.stream = stream
    self.id = id
    self.type = type
    self.schemaVersion = schemaVersion
    self.data = data
    self.metadata = metadata
  }
}

/// An event as it stands in the store.
public struct RecordedEvent: Sendable, Hashable {
  public let position: Position
  public let stream: StreamID
  public let version: Version
  public let hash: UInt16
  public let id: UUID
  public let type: String
  public let schemaVersion: Int
  public let data: [UInt8]
  public let metadata: [UInt8]
  /// By the store's clock, and never earlier than the event before.
  public let recordedAt: Timestamp

  public init(
    position: Position, stream: StreamID, version: Version, hash: UInt16, id: UUID, type: String,
    schemaVersion: Int, data: [UInt8], metadata: [UInt8], recordedAt: Timestamp
  ) {
    self.position = position
    self.stream = stream
    self.version = version
    self.hash = hash
    self.id = id
    self.type = type
    self.schemaVersion = schemaVersion
    self.data = data
    self.metadata = metadata
    self.recordedAt = recordedAt
  }
}

/// What is known about an event's origin.
public struct EventMetadata: Sendable, Hashable {
  /// Ties together everything that one request of a client led to, over all systems.
  public var correlationID: String
  /// What directly led to the event: the idempotency key of its command.
  public var causationID: String
  /// Who asked for it; nil for nobody that is known by name.
  public var actor: String?
  /// W3C Trace Context, section 3.2.
  public var traceParent: String?

  public init(correlationID: String, causationID: String, actor: String? = nil, traceParent: String? = nil) {
    self.correlationID = correlationID
    self.causationID = causationID
    self.actor = actor
    self.traceParent = traceParent
  }

  public var encoded: [UInt8] {
    var json = JSONWriter(reserving: 128)
    json.object {
      $0.member("correlationId", correlationID)
      $0.member("causationId", causationID)
      $0.member("actor", ifPresent: actor)
      $0.member("traceparent", ifPresent: traceParent)
    }
    return json.bytes
  }
}

/// A domain's events: a closed set, told apart by a stable wire name and a schema version each.
public protocol DomainEvent: Sendable {
  /// The wire name, such as `OrderPlaced`; it never changes once an event is stored.
  var type: String { get }
  var schemaVersion: Int { get }
  /// Writes the event as a JSON object.
  func encode(into json: inout JSONWriter)
  /// - Throws: `EventDecodingError` when the type or version is unknown or a member is missing: such an
  ///   event is never skipped.
  init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError)

  /// How data of older schema versions becomes data of newer ones, a step each. `init` then knows the
  /// newest version alone, and the stored events stay as they are.
  static var upcasters: [Upcaster] { get }
}

/// One step from an event type's schema version to the next.
public struct Upcaster: Sendable {
  public let type: String
  /// The schema version that it takes; it gives the next.
  public let schemaVersion: Int
  let transform: @Sendable (JSON) throws(EventDecodingError) -> JSON

  public init(
    _ type: String, from schemaVersion: Int,
    _ transform: @escaping @Sendable (JSON) throws(EventDecodingError) -> JSON
  ) {
    self.type = type
    self.schemaVersion = schemaVersion
    self.transform = transform
  }
}

public enum EventDecodingError: ClassifiedError, Sendable, Hashable, CustomStringConvertible {
  case unknownType(String, schemaVersion: Int)
  case malformed(String)
  indirect case at(Position, EventDecodingError)

  /// A type that is not known is no fault of the event's: another build knows it.
  public var failureKind: FailureKind {
    switch self {
    case .unknownType: .programmingError
    case .malformed: .refused
    case .at(_, let error): error.failureKind
    }
  }

  public var description: String {
    switch self {
    case .unknownType(let type, let version): "this build does not know event type \(type) version \(version)"
    case .malformed(let reason): "the event's data cannot be read: \(reason)"
    case .at(let position, let error): "position \(position): \(error)"
    }
  }
}

extension DomainEvent {
  public static var upcasters: [Upcaster] { [] }

  /// - Throws: `EventDecodingError.at`, with the position.
  public init(_ recorded: RecordedEvent) throws(EventDecodingError) {
    do throws(EventDecodingError) {
      var data: JSON
      do { data = try JSON(parsing: recorded.data) } catch { throw .malformed("\(error)") }
      var schemaVersion = recorded.schemaVersion
      for step in Self.upcasters where step.type == recorded.type && step.schemaVersion == schemaVersion {
        data = try step.transform(data)
        schemaVersion += 1
      }
      self = try Self(type: recorded.type, schemaVersion: schemaVersion, data: data)
    } catch {
      throw .at(recorded.position, error)
    }
  }

  public func new(in stream: StreamID, id: UUID, metadata: [UInt8]) -> NewEvent {
    var json = JSONWriter()
    encode(into: &json)
    return NewEvent(
      stream: stream, id: id, type: type, schemaVersion: schemaVersion, data: json.bytes, metadata: metadata)
  }
}
