public import EventSourcing
public import FoundationEssentials

/// What must hold of the version of a command's first stream.
public enum VersionCondition: Sendable, Hashable {
  /// The stream is there, at whatever version.
  case exists
  case oneOf(Set<Version>)

  func holds(for version: Version) -> Bool {
    switch self {
    case .exists: version > .none
    case .oneOf(let versions): versions.contains(version)
    }
  }
}

/// What surrounds a command: whose it is, and how it is known again.
public struct CommandRequest: Sendable {
  /// Sent again with the same key it takes effect once, and is answered alike.
  public let key: IdempotencyKey
  /// Whether the client sent no key, so that this one was made for it.
  public let isKeyGenerated: Bool
  /// Of all that the client asked: the same key with another fingerprint is a mistake.
  public let fingerprint: UUID
  public let metadata: EventMetadata
  /// nil for none.
  public let condition: VersionCondition?
  /// Bytes that the request takes while it waits, roughly.
  public let size: Int

  public init(
    key: IdempotencyKey, isKeyGenerated: Bool = false, fingerprint: UUID, metadata: EventMetadata,
    condition: VersionCondition? = nil, size: Int = 1024
  ) {
    self.key = key
    self.isKeyGenerated = isKeyGenerated
    self.fingerprint = fingerprint
    self.metadata = metadata
    self.condition = condition
    self.size = size
  }
}

/// What a command has decided, before it is appended: what its response is made of.
public struct Decided: Sendable {
  /// The version of the command's first stream, as the command leaves it.
  public let version: Version
  /// False when there was nothing to do.
  public let hasChanged: Bool
  /// Whether the first stream was not there before.
  public let isNew: Bool
  /// Stands for a position in the response's text: that of the first stream's last event. Write it as it is.
  public let position: [UInt8]
  /// The streams that the command read or wrote, for `TouchedStreams`. Write it as it is.
  public let streams: [UInt8]
}

/// What came of a command.
public struct CommandOutcome: Sendable {
  /// As it was stored with the command's key, now or when the key was first used.
  public let response: [UInt8]
  /// nil where the response was given before.
  public let receipt: Receipt?
  /// The store's history id that the response's positions are of.
  public let historyID: UUID?
}

/// What a command did.
public struct Receipt: Sendable {
  /// A stream as the command left it.
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
  /// False when there was nothing to do.
  public let hasChanged: Bool

  /// Every stream that the command read or wrote.
  public var streams: [StreamID: StreamReceipt] {
    states.mapValues { StreamReceipt(version: $0.version, position: $0.position) }
  }
}
