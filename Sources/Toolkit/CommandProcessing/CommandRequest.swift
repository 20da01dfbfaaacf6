public import EventSourcing
public import FoundationEssentials

/// A condition on the version of a command's first stream.
public enum VersionCondition: Sendable, Hashable {
  /// The stream exists, at any version.
  case exists
  case oneOf(Set<Version>)

  func holds(for version: Version) -> Bool {
    switch self {
    case .exists: version > .none
    case .oneOf(let versions): versions.contains(version)
    }
  }
}

/// The context of a command: its key, fingerprint, metadata and condition.
public struct CommandRequest: Sendable {
  /// A request that is sent again with the same key takes effect once, and gets the same response.
  public let key: IdempotencyKey
  /// Whether the key was made by the service because the client sent none.
  public let isKeyGenerated: Bool
  /// The fingerprint of the whole request. The same key with another fingerprint is an error.
  public let fingerprint: UUID
  public let metadata: EventMetadata
  /// The condition on the first stream; nil if there is none.
  public let condition: VersionCondition?
  /// The approximate size of the request while it waits, in bytes.
  public let size: Int
  /// The deadline that the command is; nil for any other command.
  public let firing: UUID?

  public init(
    key: IdempotencyKey, isKeyGenerated: Bool = false, fingerprint: UUID, metadata: EventMetadata,
    condition: VersionCondition? = nil, size: Int = 1024, firing: UUID? = nil
  ) {
    self.key = key
    self.isKeyGenerated = isKeyGenerated
    self.fingerprint = fingerprint
    self.metadata = metadata
    self.condition = condition
    self.size = size
    self.firing = firing
  }
}

/// A command's decision before it is appended. Its response is made from it.
public struct Decided: Sendable {
  /// The version of the command's first stream after the decision.
  public let version: Version
  /// False if there was nothing to do.
  public let hasChanged: Bool
  /// Whether the command created the first stream.
  public let isNew: Bool
  /// The position of the first stream's last event, or a mark that stands for it. Write it into the response unchanged.
  public let position: [UInt8]
  /// The streams that the command read or wrote, in the form of `TouchedStreams`. Write it into the response unchanged.
  public let streams: [UInt8]
}

/// The outcome of a command.
public struct CommandOutcome: Sendable {
  /// The response as stored with the command's key, now or when the key was first used.
  public let response: [UInt8]
  /// The effect of the command; nil if the response was stored earlier.
  public let receipt: Receipt?
  /// The id of the history that the response's positions belong to.
  public let historyID: UUID?
}

/// The effect of a command.
public struct Receipt: Sendable {
  /// A stream after the command.
  public struct StreamReceipt: Sendable, Hashable {
    public let version: Version
    /// The position of the stream's last event.
    public let position: Position

    public init(version: Version, position: Position) {
      self.version = version
      self.position = position
    }
  }

  let states: [StreamID: StreamState]
  /// False if there was nothing to do.
  public let hasChanged: Bool

  /// Every stream that the command read or wrote.
  public var streams: [StreamID: StreamReceipt] {
    states.mapValues { StreamReceipt(version: $0.version, position: $0.position) }
  }
}
