package import CommandProcessing
package import EventSourcing
internal import Failures
package import FoundationEssentials
internal import JSON
package import Logging
internal import Metrics
package import Postgres
package import PostgresEventStore
package import Projections
package import ServiceLifecycle

/// Carries out what follows from events, through a command processor.
package struct Reactor<Store: StreamStore>: Sendable {
  /// Streams, or processes, whose events are handled at once.
  private static var concurrency: Int { 64 }
  /// Decisions of one event; each may find that it needs more streams.
  private static var attempts: Int { 20 }

  private let reaction: ReactionDefinition
  private let processor: CommandProcessor<Store>
  private let appends: Counter

  package init(_ reaction: ReactionDefinition, _ processor: CommandProcessor<Store>) {
    (self.reaction, self.processor) = (reaction, processor)
    appends = Counter(label: "reaction_appends_total", dimensions: [("reaction", reaction.name)])
  }

  /// The reaction as the projection engine runs it.
  package var projection: Projection {
    reaction.projection {
      try await react(to: $0, of: $1)
      return []
    }
  }

  /// Returns once everything that follows from the events is durable.
  /// - Parameter historyID: the history of the events. Nothing follows from them in another one.
  package func react(to events: [RecordedEvent], of historyID: UUID) async throws {
    var order: [StreamID] = []
    var work: [StreamID: [(RecordedEvent, [ReactionDefinition.Append])]] = [:]
    for event in events {
      let answer: ReactionDefinition.Answer
      do { answer = try reaction.answer(event) } catch let error as any ClassifiedError { throw error } catch {
        throw ReactionFailure(description: "\(error)")
      }
      guard !answer.appends.isEmpty else { continue }
      if work[answer.sequence] == nil { order.append(answer.sequence) }
      work[answer.sequence, default: []].append((event, answer.appends))
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for (index, sequence) in order.enumerated() {
        if index >= Self.concurrency { try await group.next() }
        let own = work[sequence] ?? []
        group.addTask { for (event, appends) in own { try await carryOut(appends, event, historyID) } }
      }
      try await group.waitForAll()
    }
  }

  /// Each append by itself: one that fails keeps no other from being made.
  private func carryOut(
    _ appends: [ReactionDefinition.Append], _ event: RecordedEvent, _ historyID: UUID
  ) async throws {
    var first: (any Error)?
    for append in appends {
      do { try await carryOut(append, event, historyID) } catch { first = first ?? error }
    }
    if let first { throw first }
  }

  private func carryOut(
    _ append: ReactionDefinition.Append, _ event: RecordedEvent, _ historyID: UUID
  ) async throws {
    let scope = Projection.name(ofReaction: reaction.name)
    let key = "\(event.id.uuidString.lowercased())\(append.slot.isEmpty ? "" : "/\(append.slot)")"
    guard IdempotencyKey.lengths.contains(key.utf8.count) else {
      throw ReactionFailure(description: "the slots '\(append.slot)' are too long")
    }
    let request = CommandRequest(
      key: IdempotencyKey(scope: scope, key: key), fingerprint: event.id,
      metadata: EventMetadata(following: event.metadata, causationID: "\(scope)/\(key)"), historyID: historyID)
    for _ in 0..<Self.attempts {
      guard append.command.streams.allSatisfy(\.isValid) else {
        throw ReactionFailure(description: "\(Rejection.invalidID)")
      }
      do {
        let outcome = try await processor.execute(append.command, request) { _ in Array("{}".utf8) }
        if outcome.receipt != nil { appends.increment() }
        return
      } catch let rejection as Rejection {
        if let failure = append.command.failure {
          if let failure = failure as? any ClassifiedError { throw failure }
          throw ReactionFailure(description: "\(failure)")
        }
        if append.command.needsMoreStreams { continue }
        throw ReactionFailure(description: "rejected: \(rejection)")
      } catch CommandError.unreadable(let error) {
        throw ReactionFailure(description: "\(error)", failureKind: error.failureKind)
      } catch CommandError.conflict {
        // Others are busy with the same streams; the engine tries again after a pause.
        throw ReactionFailure(description: "others changed the streams at every attempt", failureKind: .retry)
      }
    }
    throw ReactionFailure(
      description: "it needs other streams each time that it is decided", failureKind: .programmingError)
  }
}

extension ReactionDefinition {
  /// - Parameters:
  ///   - batchLimit: see `Projection`.
  ///   - react: does nothing where only checkpoints and ledgers are asked for.
  package func projection(
    batchLimit: Int? = nil, _ react: @escaping @Sendable ([RecordedEvent], UUID) async throws -> [Refusal]
  ) -> Projection {
    Projection(
      reaction: name, version: version, categories: categories, startsAtHead: start == .head, batchLimit: batchLimit,
      isCorrelated: isCorrelated, sequence: { sequence(of: $0) }, isIdle: { isIdle($0) }, react)
  }

  /// What the projection engine runs, and for an effect the service that makes its calls.
  /// - Parameters:
  ///   - pool: a pool on the write store whose transactions wait for the disk.
  ///   - keys: the keys of personal data; nil for those of `pool`, stored as they are.
  package func running(
    _ processor: CommandProcessor<PostgresEventStore>, _ pool: PostgresPool, keys: PersonalKeys? = nil, logger: Logger
  ) -> (projection: Projection, caller: (any Service)?) {
    guard let effect else { return (Reactor(self, processor).projection, nil) }
    let caller = EffectRunner(name, effect, pool, keys ?? PersonalKeys(pool), logger: logger)
    return (projection(of: effect, by: caller), caller)
  }

  /// An effect as the projection engine runs it.
  package func projection(of effect: EffectDefinition, by caller: EffectRunner) -> Projection {
    // A batch is handled once its slowest call is, so it has no more events than are soon begun.
    projection(batchLimit: 2 * effect.limits.concurrency) { events, _ in try await caller.react(to: events) }
  }
}

extension EventMetadata {
  /// Of what follows from an event: the same request of a client led to it.
  init(following metadata: [UInt8], causationID: String) {
    let known = try? JSON(parsing: metadata)
    self.init(
      correlationID: known?["correlationId"]?.string ?? causationID, causationID: causationID,
      actor: known?["actor"]?.string, traceParent: known?["traceparent"]?.string)
  }
}
