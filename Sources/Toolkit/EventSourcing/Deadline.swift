public import FoundationEssentials
internal import JSON

/// When a scheduled command is due.
public enum Due: Sendable, Hashable {
  /// At that time on the write store's clock; at once where that has passed.
  case at(Timestamp)
  /// So long after the append that schedules the command; a negative duration counts as zero.
  case after(Duration)
}

/// A command that is carried out later: it becomes a row of the write store in the append that schedules it.
public struct Deadline: Sendable, Hashable {
  /// Names the deadline for good: an operator retries or discards it by this id.
  public let id: UUID
  /// When the command is due.
  public let due: Due
  /// The command's name, by which a reactor finds its type.
  public let command: String
  /// The command itself, a JSON object in UTF-8.
  public let data: [UInt8]
  /// What surrounds it, a JSON object in UTF-8; see `EventMetadata`.
  public let metadata: [UInt8]

  /// Creates a deadline. It has no effect until it is appended.
  public init(id: UUID, due: Due, command: String, data: [UInt8], metadata: [UInt8]) {
    self.id = id
    self.due = due
    self.command = command
    self.data = data
    self.metadata = metadata
  }
}

/// A command that a decision has scheduled.
public struct Scheduled: Sendable {
  /// When the command is due.
  public let due: Due
  /// The command to carry out.
  public let command: any Command & Codable

  /// The command's name, by which a reactor finds its type.
  public var name: String { type(of: command).name }

  /// Returns the command as the write store keeps it.
  /// - Throws: where the command cannot be encoded.
  public func deadline(_ id: UUID, metadata: [UInt8]) throws -> Deadline {
    var json = JSONWriter()
    try json.write(encoding: command)
    return Deadline(id: id, due: due, command: name, data: json.bytes, metadata: metadata)
  }
}

extension Decision {
  /// Schedules a command. The append of this decision stores it, and a reactor carries it out once, when it is due.
  ///
  /// Nobody cancels a scheduled command. Let it decide, by the state at that time, whether it still matters.
  /// - Parameters:
  ///   - command: of a type that one of the application's reactions names in `schedules`.
  ///   - due: when it is due.
  public mutating func schedule(_ command: some Command & Codable, _ due: Due) {
    scheduled.append(Scheduled(due: due, command: command))
  }

  /// Schedules a command for one stream.
  public mutating func schedule(_ command: some StreamCommand & Codable, to id: String, _ due: Due) {
    schedule(Addressed(command, to: id), due)
  }

  /// Decides another command as a part of this one.
  /// - Parameter command: its streams must be among those of this command.
  /// - Returns: why it was rejected, and then it has changed nothing; nil where it was accepted.
  public mutating func attempt(_ command: some Command) -> Rejection? {
    var trial = self
    do throws(Rejection) { try command.decide(&trial) } catch {
      misuse = misuse ?? trial.misuse
      return error
    }
    self = trial
    return nil
  }
}
