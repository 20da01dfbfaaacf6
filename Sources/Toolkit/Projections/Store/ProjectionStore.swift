package import EventSourcing
package import Failures
package import FoundationEssentials

/// Where projections keep what they make and how far they have come: the read store; for reactions, the write store.
///
/// Processes that run projections are its workers. A worker that does not renew its row in time loses its assignments to
/// others, and can write nothing for them any more.
package protocol ProjectionStore: Sendable {
  // MARK: Workers
  /// Renews a worker's row. It tries no longer than a third of the lease, so that there is time for another attempt.
  /// - Parameters:
  ///   - name: host and process id, for people.
  ///   - services: what the worker runs now, in the form of `Generation.service`. It counts for a share of each.
  ///   - lease: how long the row lives.
  func renew(_ worker: UUID, name: String, running services: [String], for lease: Duration) async throws

  /// Removes a worker's row.
  func leave(_ worker: UUID) async throws

  /// Returns the living workers that run a service, in the order of their ids.
  func workers(of service: String) async throws -> [UUID]

  /// Returns the number of assignments without a living owner, by projection.
  func unowned() async throws -> [String: Int]

  // MARK: Generations
  /// Returns all generations of these projections, ordered by projection and number.
  func generations(of projections: [String]) async throws -> [Generation]

  /// Creates the next generation and its tables; see `Generations.add`.
  /// - Returns: its number; nil if another generation is being built, or if the first one to serve exists already.
  func add(
    _ projection: Projection, _ partitioning: Partitioning, historyID: UUID, state: Generation.State,
    start: [PartitionHead]?
  ) async throws -> Int?

  /// Lets a generation serve that nobody asked for, once it has come as far as the one that serves.
  /// - Returns: nil if it serves now; otherwise the reason why it does not.
  func activate(_ generation: Generation, of log: any EventLog) async throws -> String?

  /// Whether a living worker runs generations of this version and partitioning.
  func hasWorkers(_ generation: Generation) async throws -> Bool

  /// Whether events wait in parked streams that another version of a reaction would never take.
  func isParkedForGood(_ generation: Generation, by projection: Projection) async throws -> Bool

  /// Lets another version of a reaction continue from the checkpoints of this one.
  func takeOver(_ generation: Generation, by projection: Projection) async throws

  // MARK: Assignments
  /// Takes up to `count` assignments that have no owner, or whose owner's row has expired.
  func claim(_ count: Int, _ lane: Lane) async throws -> [StoredAssignment]

  /// Returns the lane's assignments with their stored checkpoints.
  func owned(_ lane: Lane) async throws -> [StoredAssignment]

  /// Gives up assignments.
  func release(_ partitions: [Partition], _ lane: Lane) async throws

  /// Stores how assignments are doing, for people and for `activate`.
  func report(_ reports: [AssignmentReport], _ lane: Lane) async throws

  /// Returns the parked streams of these partitions.
  func parked(_ partitions: [Partition], of generation: Generation) async throws -> [ParkedPlace]

  /// Returns the positions of the first events that wait behind a parked process.
  func held(behind parked: ParkedPlace, of generation: Generation, limit: Int) async throws -> [Position]

  // MARK: Rounds
  /// Writes all parts in one transaction, or nothing.
  /// - Throws: `FencedError` if the worker does not own an assignment whose checkpoint moves, if a checkpoint is not where the
  ///   worker left it, or if a parked stream does not wait where the part expects it.
  func write(_ parts: [RoundPart], by worker: UUID) async throws
}

/// Another worker owns some of the assignments now, or a parked stream has continued already: this one must not write for
/// them any more.
package struct FencedError: ClassifiedError, CustomStringConvertible {
  package init() {}

  package var failureKind: FailureKind { .retry }
  package var description: String {
    "another worker owns some of the assignments now, a parked stream has continued already, or the write store was restored"
  }
}

/// The part of a generation's partitions that one worker handles in succession: those whose index modulo `count` is `number`.
package struct Lane: Sendable {
  package let generation: Generation
  package let worker: UUID
  package let number: Int
  package let count: Int

  package init(generation: Generation, worker: UUID, number: Int, count: Int) {
    (self.generation, self.worker, self.number, self.count) = (generation, worker, number, count)
  }

  /// Returns this worker's equal share of the lane's assignments; nil while the store does not count it among the `workers`.
  func share(among workers: [UUID]) -> Int? {
    guard let rank = workers.firstIndex(of: worker) else { return nil }
    let assignments = (number..<generation.partitioning.count).count { $0 % count == number }
    // The remainder goes to other workers in each lane.
    return assignments / workers.count + ((rank + number) % workers.count < assignments % workers.count ? 1 : 0)
  }
}

/// How far a projection has come in a partition.
package struct Checkpoint: Sendable, Hashable {
  package var position: Position
  /// The event at that position; nil at the start.
  package var eventID: UUID?

  package init(position: Position, eventID: UUID?) { (self.position, self.eventID) = (position, eventID) }

  package static let start = Checkpoint(position: .start, eventID: nil)
}

/// An assignment as stored.
package struct StoredAssignment: Sendable {
  package let partition: Partition
  package let historyID: UUID
  package let checkpoint: Checkpoint

  package init(partition: Partition, historyID: UUID, checkpoint: Checkpoint) {
    (self.partition, self.historyID, self.checkpoint) = (partition, historyID, checkpoint)
  }
}

/// How an assignment is doing.
package struct AssignmentReport: Sendable {
  package let partition: Partition
  /// The name in the status.
  package let mode: String
  /// Where and why it stopped; nil while it runs.
  package let position: Position?
  package let reason: String?
}

/// A stream that waits at an event that failed.
package struct ParkedPlace: Sendable {
  package enum Request: String, Sendable { case retry, discard }

  /// For a process manager the process's own stream.
  package let stream: StreamID
  package let partition: Int
  /// The event that it waits at.
  package internal(set) var version: Version
  package internal(set) var position: Position
  /// What is to be done now: an operator asks for it, or the time of the next retry has come.
  package let request: Request?
  /// Whether it waits for an operator.
  package let needsAPerson: Bool

  package init(
    stream: StreamID, partition: Int, version: Version, position: Position, request: Request?, needsAPerson: Bool
  ) {
    (self.stream, self.partition, self.version, self.position) = (stream, partition, version, position)
    (self.request, self.needsAPerson) = (request, needsAPerson)
  }
}

/// The part of one lane in one transaction.
package struct RoundPart: Sendable {
  package let generation: Generation
  /// How rows change; nil if none does.
  package let rows: BatchPlan?
  /// Changes of parked streams and of the ledger, in order.
  package var changes: [ParkingChange] = []
  /// The events of earlier blocks of positions than those where the checkpoints then stand.
  package var ledger: [Ledger.Key: Ledger.Entry] = [:]
  /// How checkpoints move. They are written last.
  package var moves: [Move] = []
  /// Whether the part takes so long that no other part should wait for it.
  var isLarge = false

  package init(generation: Generation, rows: BatchPlan?, changes: [ParkingChange] = []) {
    (self.generation, self.rows, self.changes) = (generation, rows, changes)
  }

  /// Adds a move, and the events applied on the way.
  mutating func move(_ advance: Advance) {
    let key = Ledger.Key(advance.partition, advance.to.position)
    var own = advance.applied.entries
    moves.append(
      Move(
        partition: advance.partition.index, from: advance.from.position, to: advance.to,
        applied: own.removeValue(forKey: key) ?? .init()))
    ledger.merge(own) { $1 }
  }

  /// A checkpoint's move.
  package struct Move: Sendable {
    package let partition: Int
    package let from: Position
    package let to: Checkpoint
    /// The events applied in the block of positions where the checkpoint then stands.
    package let applied: Ledger.Entry
  }
}

/// A change of what waits in a generation.
package enum ParkingChange: Sendable {
  /// Writes to the disk before the transaction ends. For one that moves no checkpoint: if a crash undid it, nothing would show
  /// that.
  case durably
  /// Fails unless the stream waits at that event. The checkpoint does not move when a stream continues, so nothing else
  /// would tell that an attempt whose outcome is unknown has already done it.
  case expect(ParkedPlace)
  /// Parks the stream at the event, or stores why it stays parked.
  case park(Refusal, StreamID, Partition)
  /// Discards the event that the stream waits at. The stream continues after it.
  case discard(StreamID)
  /// Moves a parked stream to this event, where it waits now. The position tells readers that the row has changed, since the
  /// checkpoint does not.
  case resume(StreamID, at: RecordedEvent)
  case unpark(StreamID)
  /// Keeps events that wait behind parked processes, each with the stream of its process.
  case hold([(process: StreamID, event: RecordedEvent)])
  /// Forgets events that wait behind a parked process no longer: those up to `last`; all if it is nil.
  case release(StreamID, upTo: Position?)
}

/// A move of one assignment's checkpoint, and the events applied on the way.
struct Advance: Sendable {
  let partition: Partition
  let from: Checkpoint
  let to: Checkpoint
  let applied: Ledger.Addition
}
