package import EventSourcing
package import Failures

/// Why a command was not carried out, other than a rejection.
package enum CommandError: ClassifiedError, Sendable, CustomStringConvertible {
  /// Too many commands wait, or this one waited too long: it was not decided. Try again later.
  case overloaded
  /// The store could not be reached: nothing was stored. Try again later.
  case unavailable(String)
  /// The connection was lost during the append, and the store did not come back in time: the events may or may not be
  /// stored. Repeat the command with the same key to find out.
  case outcomeUnknown(String)
  /// Others changed the stream at every attempt.
  case conflict(StreamID, current: Version)
  /// The stream's version is not one that the request expects.
  case preconditionFailed(StreamID, current: Version)
  /// The key was used for another request.
  case keyReused(String)
  /// The store can never accept one of the command's values.
  case refused(String)
  /// A stream that the command reads contains an event that this build cannot read.
  case unreadable(EventDecodingError)
  /// The store's history has changed, and no operator has confirmed the change: nothing was stored.
  case historyChanged(String)
  /// The program or the store's schema is wrong: nothing was stored, and a retry does not help.
  case defect(String)
  /// The processor is shutting down: the command was not decided.
  case stopping

  /// Translates an error of a read that the command needed. The command stored nothing.
  package init(reading error: EventStoreError) {
    switch error {
    case .unavailable(let reason), .outcomeUnknown(let reason): self = .unavailable(reason)
    case .refused(let reason): self = .refused(reason)
    case .historyChanged(let reason): self = .historyChanged(reason)
    case .archived(let reason): self = .unreadable(.malformed(reason))
    case .failed(let reason): self = .defect(reason)
    }
  }

  package var failureKind: FailureKind {
    switch self {
    case .overloaded, .unavailable, .outcomeUnknown, .stopping: .retry
    case .conflict, .preconditionFailed, .keyReused, .refused: .refused
    case .historyChanged: .historyChanged
    case .unreadable, .defect: .programmingError
    }
  }

  /// Whether the error says only that this attempt stored nothing. The store was not asked for the command's key, so an
  /// earlier attempt may have taken effect.
  var meansNothingStored: Bool {
    switch self {
    case .overloaded, .unavailable, .historyChanged, .stopping, .unreadable, .defect: true
    case .outcomeUnknown, .conflict, .preconditionFailed, .keyReused, .refused: false
    }
  }

  package var description: String {
    switch self {
    case .overloaded: "too many commands are waiting"
    case .unavailable(let reason): "the store is unavailable: \(reason)"
    case .outcomeUnknown(let reason): "it is not known whether the command took effect: \(reason)"
    case .conflict(let stream, let version):
      "\(stream) was changed by others at every attempt; it is at version \(version)"
    case .preconditionFailed(let stream, let version): "\(stream) is at version \(version), which was not expected"
    case .keyReused(let key): "the key \(key) was used for another request"
    case .refused(let reason): "the store refused a value: \(reason)"
    case .unreadable(let error): "\(error)"
    case .historyChanged(let reason), .defect(let reason): reason
    case .stopping: "the service is shutting down"
    }
  }
}
