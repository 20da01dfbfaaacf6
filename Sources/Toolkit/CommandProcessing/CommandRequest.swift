package import EventSourcing
package import FoundationEssentials

/// A condition on the version of a command's first stream.
package enum VersionCondition: Sendable, Hashable {
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
package struct CommandRequest: Sendable {
  /// A request that is sent again with the same key takes effect once, and gets the same response.
  package let key: IdempotencyKey
  /// Whether the key was made by the service because the client sent none.
  package let isKeyGenerated: Bool
  /// The fingerprint of the whole request. The same key with another fingerprint is an error.
  package let fingerprint: UUID
  package let metadata: EventMetadata
  /// The condition on the first stream; nil if there is none.
  package let condition: VersionCondition?
  /// The approximate size of the request while it waits, in bytes.
  package let size: Int
  /// The deadline that the command is; nil for any other command.
  package let firing: UUID?
  /// The history of what the command was made from, such as the event that it follows from: it is carried out in no other.
  /// nil if it was made from nothing in the store.
  package let historyID: UUID?

  package init(
    key: IdempotencyKey, isKeyGenerated: Bool = false, fingerprint: UUID, metadata: EventMetadata,
    condition: VersionCondition? = nil, size: Int = 1024, firing: UUID? = nil, historyID: UUID? = nil
  ) {
    self.key = key
    self.isKeyGenerated = isKeyGenerated
    self.fingerprint = fingerprint
    self.metadata = metadata
    self.condition = condition
    self.size = size
    self.firing = firing
    self.historyID = historyID
  }
}

/// A command's decision before it is appended. Its response is made from it.
package struct Decided: Sendable {
  /// The version of the command's first stream after the decision.
  package let version: Version
  /// False if there was nothing to do.
  package let hasChanged: Bool
  /// Whether the command created the first stream.
  package let isNew: Bool
  /// The position of the first stream's last event, or a mark that stands for it. Write it into the response unchanged.
  package let position: [UInt8]
  /// The streams that the command read or wrote, in the form of `TouchedStreams`. Write it into the response unchanged.
  package let streams: [UInt8]
}

/// The outcome of a command.
package struct CommandOutcome: Sendable {
  /// The response as stored with the command's key, now or when the key was first used.
  package let response: [UInt8]
  /// The effect of the command; nil if the response was stored earlier.
  package let receipt: Receipt?
  /// The id of the history that the response's positions belong to.
  package let historyID: UUID?
}

/// The effect of a command.
package struct Receipt: Sendable {
  /// A stream after the command.
  package struct StreamReceipt: Sendable, Hashable {
    package let version: Version
    /// The position of the stream's last event.
    package let position: Position

    package init(version: Version, position: Position) {
      self.version = version
      self.position = position
    }
  }

  let states: [StreamID: StreamState]
  /// False if there was nothing to do.
  package let hasChanged: Bool

  /// Every stream that the command read or wrote.
  package var streams: [StreamID: StreamReceipt] {
    states.mapValues { StreamReceipt(version: $0.version, position: $0.position) }
  }
}
