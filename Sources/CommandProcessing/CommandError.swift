public import EventSourcing

/// Why a command was not carried out, other than by its own rules.
public enum CommandError: Error, Sendable, CustomStringConvertible {
  /// Too many commands wait, or this one has waited too long: it was not decided. Try again later.
  case overloaded
  /// The store could not be reached: nothing was stored. Try again later.
  case unavailable(String)
  /// The connection was lost in the middle: the events may or may not be stored.
  case outcomeUnknown(String)
  /// Others changed the stream at every attempt.
  case conflict(StreamID, current: Version)
  /// The store refuses one of the command's values.
  case refused(String)
  /// A stream that the command reads holds an event that this build cannot read.
  case unreadable(EventDecodingError)
  /// The processor is shutting down: the command was not decided.
  case stopping

  public var description: String {
    switch self {
    case .overloaded: "too many commands are waiting"
    case .unavailable(let reason): "the store is unavailable: \(reason)"
    case .outcomeUnknown(let reason): "it is not known whether the command took effect: \(reason)"
    case .conflict(let stream, let version):
      "\(stream) was changed by others at every attempt; it is at version \(version)"
    case .refused(let reason): "the store refused a value: \(reason)"
    case .unreadable(let error): "\(error)"
    case .stopping: "the service is shutting down"
    }
  }
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

  /// Every stream that the command read or wrote.
  public let streams: [StreamID: StreamReceipt]
  /// False when there was nothing to do.
  public let hasChanged: Bool
}
