package import CommandProcessing
package import EventSourcing
internal import Failures
package import FoundationEssentials
package import Logging
internal import Metrics

/// A scheduled command that is due.
package struct DueDeadline: Sendable {
  package let id: UUID
  package let command: String
  package let data: [UInt8]
  package let metadata: [UInt8]
  /// The history that it was scheduled in.
  package let historyID: UUID

  package init(id: UUID, command: String, data: [UInt8], metadata: [UInt8], historyID: UUID) {
    self.id = id
    self.command = command
    self.data = data
    self.metadata = metadata
    self.historyID = historyID
  }
}

/// How many scheduled commands a store has.
package struct DeadlineCounts: Sendable {
  /// Those that wait for their time, or for their turn.
  package let outstanding: Int
  /// Those that wait for a person.
  package let stuck: Int
  /// How long the oldest one has been due, in seconds; 0 if none is.
  package let overdue: Double

  package init(outstanding: Int, stuck: Int, overdue: Double) {
    (self.outstanding, self.stuck, self.overdue) = (outstanding, stuck, overdue)
  }
}

/// The scheduled commands of a store.
package protocol DeadlineQueue: Sendable {
  /// Counts them.
  func counts() async throws -> DeadlineCounts

  /// Returns those of these names that are due, the oldest first.
  func due(_ names: [String], atMost limit: Int) async throws -> [DueDeadline]

  /// Removes one that was carried out earlier, and is still there.
  func remove(_ id: UUID) async throws

  /// Keeps one until a later time.
  func postpone(_ id: UUID, because error: any Error) async throws

  /// Keeps one until a person has looked at it.
  func fail(_ id: UUID, because error: any Error) async throws
}

/// Carries out scheduled commands that are due.
package struct DeadlineRunner<Store: StreamStore>: Sendable {
  private typealias Entry = (row: DueDeadline, command: any Command)

  private let types: [String: ScheduledType]
  private let queue: any DeadlineQueue
  private let processor: CommandProcessor<Store>
  private let logger: Logger
  private let fired = Counter(label: "deadlines_fired_total")
  private let failed = Counter(label: "deadlines_failed_total")

  package init(
    _ types: [ScheduledType], _ queue: any DeadlineQueue, _ processor: CommandProcessor<Store>, logger: Logger
  ) {
    self.types = Dictionary(types.map { ($0.name, $0) }) { $1 }
    (self.queue, self.processor, self.logger) = (queue, processor, logger)
  }

  /// - Returns: how many were due.
  package func fireDue(atMost limit: Int) async throws -> Int {
    let due = try await queue.due(Array(types.keys), atMost: limit)
    var rest: [Entry] = []
    for row in due {
      guard let type = types[row.command] else { continue }
      do { rest.append((row, try type.decode(row.data))) } catch { try await fail(row, error) }
    }
    while !rest.isEmpty {
      // Those that share a stream wait for the older one.
      var busy: Set<StreamID> = []
      var (now, later) = ([Entry](), [Entry]())
      for entry in rest {
        let streams = entry.command.streams.map(\.stream)
        if busy.isDisjoint(with: streams) { now.append(entry) } else { later.append(entry) }
        busy.formUnion(streams)
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (row, command) in now { group.addTask { try await fire(row, command) } }
        try await group.waitForAll()
      }
      rest = later
    }
    return due.count
  }

  private func fire(_ row: DueDeadline, _ command: any Command) async throws {
    let id = row.id.uuidString.lowercased()
    let request = CommandRequest(
      key: IdempotencyKey(scope: "deadline", key: id), fingerprint: row.id,
      metadata: EventMetadata(following: row.metadata, causationID: "deadline/\(id)"), firing: row.id,
      historyID: row.historyID)
    do {
      let outcome = try await processor.execute(command, request) { _ in Array("{}".utf8) }
      // The append has removed the row, unless it was made before, and its response was lost.
      if outcome.receipt == nil { try await queue.remove(row.id) }
      fired.increment()
    } catch {
      if case CommandError.conflict = error {
        return logger.warning(
          "another command is writing to the streams of a scheduled command", metadata: ["deadline": "\(id)"])
      }
      let kind: FailureKind = error is Rejection ? .refused : FailureKind(error)
      switch kind {
      case .retry, .historyChanged: throw error
      case .refused: try await fail(row, error)
      case .programmingError:
        // The build, the schema or a right is at fault, and not this command alone: it is tried again.
        logger.critical(
          "a scheduled command cannot run now; it is tried again",
          metadata: ["deadline": "\(id)", "command": "\(row.command)", "error": "\(error)"])
        try await queue.postpone(row.id, because: error)
      }
    }
  }

  private func fail(_ row: DueDeadline, _ error: any Error) async throws {
    failed.increment()
    logger.critical(
      "a scheduled command failed; an operator must retry or discard it",
      metadata: ["deadline": "\(row.id)", "command": "\(row.command)", "error": "\(error)"])
    try await queue.fail(row.id, because: error)
  }
}
