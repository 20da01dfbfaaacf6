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

/// A domain's events: a closed set, told apart by a stable wire name each.
///
/// An enum that is `Codable` needs nothing else. A case's wire name is its own or the raw value of its `CodingKeys`, and never
/// changes once an event is stored; its data are its labels and values, or what its one value without a label is encoded as:
///
///     enum AccountEvent: DomainEvent, Codable {
///       case opened(owner: String)                // AccountOpened, {"owner":"Ada"}
///       case limitChanged(LimitChanged)           // AccountLimitChanged, and what LimitChanged is encoded as
///
///       enum CodingKeys: String, CodingKey {
///         case opened = "AccountOpened", limitChanged = "AccountLimitChanged"
///       }
///     }
public protocol DomainEvent: Sendable {
  /// Writes the event's data as a JSON object.
  /// - Returns: its wire name, such as `OrderPlaced`.
  func encode(into json: inout JSONWriter) throws -> String
  /// - Parameter data: of the newest schema version.
  /// - Returns: nil where there is no event of that name.
  static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Self?

  /// How data of older schema versions becomes data of newer ones, a step each. The stored events stay as they are.
  static var upcasters: [Upcaster] { get }
}

extension DomainEvent where Self: Codable {
  public func encode(into json: inout JSONWriter) throws -> String { try json.write(caseOf: self) }

  public static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Self? {
    do { return try data.decode(case: name) } catch { throw .malformed("\(error)") }
  }
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

  /// Of what is stored from now on: one more than the newest that an upcaster takes.
  static func schemaVersion(of name: String) -> Int {
    upcasters.reduce(1) { $1.type == name ? max($0, $1.schemaVersion + 1) : $0 }
  }

  /// - Throws: `EventDecodingError.at`, with the position: when the type or version is unknown or the data are not as they
  ///   should be. Such an event is never skipped.
  public init(_ recorded: RecordedEvent) throws(EventDecodingError) {
    do throws(EventDecodingError) {
      var data: JSON
      do { data = try JSON(parsing: recorded.data) } catch { throw .malformed("\(error)") }
      var schemaVersion = recorded.schemaVersion
      for step in Self.upcasters where step.type == recorded.type && step.schemaVersion == schemaVersion {
        data = try step.transform(data)
        schemaVersion += 1
      }
      guard schemaVersion == Self.schemaVersion(of: recorded.type), let event = try Self.decode(recorded.type, data)
      else { throw .unknownType(recorded.type, schemaVersion: schemaVersion) }
      self = event
    } catch {
      throw .at(recorded.position, error)
    }
  }

  /// - Throws: what `encode` throws, and `EncodingError`.
  public func new(in stream: StreamID, id: UUID, metadata: [UInt8]) throws -> NewEvent {
    var json = JSONWriter()
    let name = try encode(into: &json)
    return NewEvent(
      stream: stream, id: id, type: name, schemaVersion: Self.schemaVersion(of: name), data: json.bytes,
      metadata: metadata)
  }
}
