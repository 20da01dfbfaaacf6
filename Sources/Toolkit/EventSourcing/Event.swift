public import Failures
public import FoundationEssentials
public import JSON

/// An event to append. The store assigns its version and position.
public struct NewEvent: Sendable, Hashable {
  /// The stream to append to.
  public let stream: StreamID
  /// Names the event for good. No two events of a store have the same id.
  public let id: UUID
  /// The event's wire name, such as `AccountOpened`.
  public let type: String
  /// The version of the event type's data, from 1.
  public let schemaVersion: Int
  /// The event's data: a JSON object in UTF-8.
  public let data: [UInt8]
  /// The event's metadata: a JSON object in UTF-8. See `EventMetadata`.
  public let metadata: [UInt8]

  /// Creates an event to append.
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

/// An event as it is stored.
public struct RecordedEvent: Sendable, Hashable {
  /// The place among all events of the store: 1, 2, 3, … in commit order.
  public let position: Position
  /// The stream of the event.
  public let stream: StreamID
  /// The place in the stream, from 1.
  public let version: Version
  /// The hash of the stream's name, which decides its partition.
  public let hash: UInt16
  /// Names the event for good.
  public let id: UUID
  /// The event's wire name, such as `AccountOpened`.
  public let type: String
  /// The version of the event type's data, from 1.
  public let schemaVersion: Int
  /// The event's data: a JSON object in UTF-8.
  public let data: [UInt8]
  /// The event's metadata: a JSON object in UTF-8. See `EventMetadata`.
  public let metadata: [UInt8]
  /// The time of the append by the store's clock. It is never earlier than that of the previous event.
  public let recordedAt: Timestamp

  /// Creates an event as a store returns it.
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

/// The origin of an event.
public struct EventMetadata: Sendable, Hashable {
  /// Shared by everything that one request of a client led to, in all systems.
  public var correlationID: String
  /// The direct cause of the event: the idempotency key of its command.
  public var causationID: String
  /// The authenticated caller; nil if there is none.
  public var actor: String?
  /// The `traceparent` of W3C Trace Context, section 3.2.
  public var traceParent: String?

  /// Creates metadata.
  public init(correlationID: String, causationID: String, actor: String? = nil, traceParent: String? = nil) {
    self.correlationID = correlationID
    self.causationID = causationID
    self.actor = actor
    self.traceParent = traceParent
  }

  /// The metadata as a JSON object in UTF-8.
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

/// The events of a domain: a closed set, each with a stable wire name.
///
/// A `Codable` enum needs no further code. The wire name of a case is its raw value in `CodingKeys`, or else the case's
/// name. It must never change once such an event is stored. The data are the labels and values of the case. A case with
/// one unlabelled value has the encoding of that value as its data:
///
///     enum AccountEvent: DomainEvent, Codable {
///       case opened(owner: String)                // AccountOpened, {"owner":"Ada"}
///       case limitChanged(LimitChanged)           // AccountLimitChanged, with the encoding of LimitChanged
///
///       enum CodingKeys: String, CodingKey {
///         case opened = "AccountOpened", limitChanged = "AccountLimitChanged"
///       }
///     }
public protocol DomainEvent: Sendable {
  /// Writes the event's data as a JSON object.
  /// - Returns: The wire name, such as `AccountOpened`.
  func encode(into json: inout JSONWriter) throws -> String
  /// Reads an event from its wire name and data.
  /// - Parameters:
  ///   - name: The wire name.
  ///   - data: The data in the newest schema version.
  /// - Returns: The event; nil if there is no event with that name.
  static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Self?

  /// Each upcaster turns data of one schema version into the next. The stored events do not change.
  static var upcasters: [Upcaster] { get }

  /// The wire names of all events; nil if they cannot be listed. A `Codable` enum lists them if its `CodingKeys` are
  /// `CaseIterable`.
  static var names: [String]? { get }
}

extension DomainEvent where Self: Codable {
  public func encode(into json: inout JSONWriter) throws -> String { try json.write(caseOf: self) }

  public static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Self? {
    do { return try data.decode(case: name) } catch { throw .malformed("\(error)") }
  }

  public static var names: [String]? { JSON.caseNames(of: Self.self) }
}

/// Turns data of one schema version of an event type into the next version.
public struct Upcaster: Sendable {
  /// The event type whose data are converted.
  public let type: String
  /// The schema version of the input. The output has the next one.
  public let schemaVersion: Int
  let transform: @Sendable (JSON) throws(EventDecodingError) -> JSON

  /// Creates an upcaster.
  /// - Parameters:
  ///   - type: The event type.
  ///   - schemaVersion: The schema version of the input, from 1.
  ///   - transform: Converts the data to the next schema version.
  public init(
    _ type: String, from schemaVersion: Int,
    _ transform: @escaping @Sendable (JSON) throws(EventDecodingError) -> JSON
  ) {
    self.type = type
    self.schemaVersion = schemaVersion
    self.transform = transform
  }
}

/// The reason why a stored event cannot be read.
public enum EventDecodingError: ClassifiedError, Sendable, Hashable, CustomStringConvertible {
  /// This build does not know the event type, or not this schema version of it.
  case unknownType(String, schemaVersion: Int)
  /// The data do not have the shape of the event type. The text says what is wrong.
  case malformed(String)
  /// The error of the event at this position.
  indirect case at(Position, EventDecodingError)

  /// An unknown type does not mean that the event is wrong: another build knows the type.
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
  public static var names: [String]? { nil }

  /// The schema version for new events: one more than the newest version that an upcaster reads.
  static func schemaVersion(of name: String) -> Int {
    upcasters.reduce(1) { $1.type == name ? max($0, $1.schemaVersion + 1) : $0 }
  }

  /// Decodes a recorded event, after upcasting its data to the newest schema version.
  /// - Throws: `EventDecodingError.at`, with the position, if the type or version is unknown or the data are malformed.
  ///   Never skip such an event.
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

  /// Encodes the event for a stream.
  /// - Throws: The errors of `encode`, and `EncodingError`.
  public func new(in stream: StreamID, id: UUID, metadata: [UInt8]) throws -> NewEvent {
    var json = JSONWriter()
    let name = try encode(into: &json)
    return NewEvent(
      stream: stream, id: id, type: name, schemaVersion: Self.schemaVersion(of: name), data: json.bytes,
      metadata: metadata)
  }
}
