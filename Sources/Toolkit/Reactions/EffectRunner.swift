internal import EventLoop
package import EventSourcing
internal import Failures
internal import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
package import PostgresEventStore
package import Projections
internal import ServiceLifecycle
internal import Synchronization

/// Makes the calls of one effect, for the projection engine: `limits.concurrency` at once, each with a record of its attempt.
///
/// The engine waits for a first attempt, but not for long. A call that takes longer, and each later attempt, goes on by itself
/// while its stream is parked, so that no other stream waits for it. The record tells the engine the outcome.
package final class EffectRunner: Service {
  /// How long the engine waits for a first attempt.
  private static let patience = Duration.seconds(5)
  /// The length of an error in the record, in characters.
  private static let longestError = 2_000

  private struct Queue {
    var jobs: [EffectJob] = []
    var isOpen = true
  }

  private let effect: String
  private let definition: EffectDefinition
  private let attempts: EffectAttempts
  private let store: any StreamStore
  private let opening: @Sendable (_ sealed: String, _ person: String) async throws -> [UInt8]?
  private let logger: Logger
  private let queue = Mutex(Queue())
  /// One for any number of jobs that have been queued since the last one. No timer, since each costs two thread switches.
  private let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  private let outcomes: [EffectAttempts.Outcome: Counter]
  private let time: Metrics.Timer

  /// - Parameters:
  ///   - pool: a pool on the write store whose transactions wait for the disk.
  ///   - keys: the keys of personal data.
  package convenience init(
    _ effect: String, _ definition: EffectDefinition, _ pool: PostgresPool, _ keys: PersonalKeys, logger: Logger
  ) {
    self.init(
      effect, definition, PostgresAttempts(of: effect, definition.limits, pool), PostgresEventStore(pool),
      logger: logger
    ) { sealed, person in
      try await keys.keys(of: [person])[person]?.open(sealed, of: person)
    }
  }

  /// - Parameters:
  ///   - attempts: keeps a record of all attempts.
  ///   - store: the write store, from which calls load states.
  ///   - opening: opens sealed data of a person.
  package init(
    _ effect: String, _ definition: EffectDefinition, _ attempts: any AttemptTable, _ store: any StreamStore,
    logger: Logger, opening: @escaping @Sendable (_ sealed: String, _ person: String) async throws -> [UInt8]?
  ) {
    (self.effect, self.definition) = (effect, definition)
    self.attempts = EffectAttempts(attempts)
    (self.store, self.opening) = (store, opening)
    var logger = logger
    logger[metadataKey: "effect"] = "\(effect)"
    self.logger = logger
    outcomes = Dictionary(
      uniqueKeysWithValues: EffectAttempts.Outcome.allCases.map {
        ($0, Counter(label: "effect_attempts_total", dimensions: [("effect", effect), ("outcome", $0.rawValue)]))
      })
    time = Metrics.Timer(label: "effect_attempt_seconds", dimensions: [("effect", effect)])
  }

  /// The idempotency key of a call.
  /// - Parameter reaction: the effect as the engine names it.
  static func key(_ event: UUID, in reaction: String, slot: String) -> String {
    "\(reaction)/\(event.uuidString.lowercased())\(slot.isEmpty ? "" : "/\(slot)")"
  }

  private func key(_ call: EffectDefinition.Call, _ event: RecordedEvent) -> String {
    Self.key(event.id, in: Projection.name(ofReaction: effect), slot: call.slot)
  }
}

// MARK: For the engine
extension EffectRunner {
  /// An event, and its calls or the reason why they are not known.
  private struct Step {
    let event: RecordedEvent
    var calls: [EffectDefinition.Call] = []
    var failure: ReactionFailure?
  }

  /// Returns once the calls of each event have succeeded, or one of its stream's has not.
  /// - Returns: the events with such a call.
  package func react(to events: [RecordedEvent]) async throws -> [Refusal] {
    // Nothing is called before everything is known: an event type of another build stops all of them.
    let steps = try events.map { try step($0) }
    return try await withThrowingTaskGroup(of: Refusal?.self) { group in
      for own in Dictionary(grouping: steps, by: \.event.stream).values {
        group.addTask { try await self.handle(own) }
      }
      return try await group.reduce(into: [Refusal]()) { refusals, refusal in
        if let refusal { refusals.append(refusal) }
      }
    }
  }

  /// - Throws: if this build cannot know what follows from the event.
  private func step(_ event: RecordedEvent) throws -> Step {
    do { return Step(event: event, calls: try definition.calls(event)) } catch let error as any ClassifiedError
      where error.failureKind != .refused
    { throw error } catch { return Step(event: event, failure: ReactionFailure(description: "\(error)")) }
  }

  /// Makes the calls of one stream's events in order, up to one that does not succeed.
  private func handle(_ steps: [Step]) async throws -> Refusal? {
    for step in steps {
      if let failure = step.failure { return Refusal(step.event, error: "\(failure)", .person) }
      for call in step.calls {
        if let refusal = try await answer(to: call, step.event) { return refusal }
      }
    }
    return nil
  }

  /// - Returns: nil if the call has succeeded.
  private func answer(to call: EffectDefinition.Call, _ event: RecordedEvent) async throws -> Refusal? {
    let (answers, continuation) = AsyncStream.makeStream(of: EffectJob.Answer.self)
    let job = EffectJob(call: call, event: event, key: key(call, event), continuation: continuation)
    let isQueued = queue.withLock { queue in
      if queue.isOpen { queue.jobs.append(job) }
      return queue.isOpen
    }
    guard isQueued else { throw CancellationError() }
    arrival.yield()
    for await answer in answers { return try answer.get() }
    // The task was cancelled.
    _ = job.claim()
    throw CancellationError()
  }
}

// MARK: The calls
extension EffectRunner {
  /// At shutdown, calls that have begun may end.
  package func run() async throws {
    await withGracefulShutdownHandler {
      await withTaskGroup(of: Void.self) { group in
        var running = 0
        for await _ in arrivals {
          while !Task.isCancelled, let job = nextJob() {
            if running == definition.limits.concurrency {
              await group.next()
              running -= 1
            }
            group.addTask { await self.carryOut(job) }
            running += 1
          }
        }
      }
    } onGracefulShutdown: {
      self.close()
    }
    close()
  }

  private func nextJob() -> EffectJob? { queue.withLock { $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() } }

  private func close() {
    let left = queue.withLock { queue in
      defer { queue = Queue(jobs: [], isOpen: false) }
      return queue.jobs
    }
    for job in left { job.answer(.failure(CancellationError())) }
    arrival.finish()
  }

  private func carryOut(_ job: EffectJob) async {
    guard !job.isClaimed else { return }
    do {
      switch try await attempts.begin(job.key, job.event) {
      case .hasSucceeded: job.answer(.success(nil))
      case .isUnderWay(let number): job.answer(.success(job.underWay(number)))
      case .hasFailed(let error, let delay): job.answer(.success(job.refusal(error, delay)))
      case .perform(let attempt):
        // Only a parked stream is tried again. A call that has to wait for its turn does not hold the others up.
        if attempt.number > 1 || attempt.wait > Self.patience { job.answer(.success(job.underWay(attempt.number))) }
        await perform(job, attempt)
      }
    } catch { job.answer(.failure(error)) }
  }

  private func perform(_ job: EffectJob, _ attempt: EffectAttempts.Begun) async {
    let (start, limit) = (Machine.now + attempt.wait, definition.limits.attempts)
    // An attempt without an outcome counts: a call that ends its process is not repeated for ever.
    let result: Result<Void, any Error> =
      attempt.series <= limit
      ? await made(job, attempt)
      : .failure(PermanentFailure("none of \(limit) attempts has an outcome: the process ended"))
    time.record(duration: max(.zero, Machine.now - start))
    let end = ended(attempt, result)
    outcomes[end.outcome]?.increment()
    log(job, attempt, end)
    await record(end, of: job, attempt)
  }

  private func ended(_ attempt: EffectAttempts.Begun, _ result: Result<Void, any Error>) -> EffectAttempts.End {
    guard case .failure(let failure) = result else { return EffectAttempts.End(outcome: .succeeded) }
    // PostgreSQL refuses text with a zero byte.
    let error = String("\(failure)".replacing("\0", with: "").prefix(Self.longestError))
    guard !Task.isCancelled else { return EffectAttempts.End(outcome: .interrupted, error: error) }
    let delay = pause(after: attempt.series, failure)
    return EffectAttempts.End(outcome: delay == nil ? .gaveUp : .failed, error: error, delay: delay)
  }

  /// Records an attempt's end, and tells the engine if it still waits.
  private func record(_ end: EffectAttempts.End, of job: EffectJob, _ attempt: EffectAttempts.Begun) async {
    let isAwaited = job.claim()
    do {
      try await attempts.finish(job.key, attempt.number, end, isNoted: isAwaited)
      guard isAwaited else { return }
      if end.outcome == .interrupted { return job.give(.failure(CancellationError())) }
      job.give(.success(end.error.map { job.refusal($0, end.delay) }))
    } catch {
      logger.error("an attempt at a call cannot be recorded", metadata: job.place(attempt.number, "\(error)"))
      if isAwaited { job.give(.failure(error)) }
    }
  }

  /// The pause before the next attempt; nil if there is none.
  private func pause(after series: Int, _ error: any Error) -> Duration? {
    switch FailureKind(error) {
    case .refused: return nil
    case .retry, .historyChanged, .programmingError:
      guard series < definition.limits.attempts else { return nil }
      var backoff = Backoff(first: definition.limits.firstDelay, limit: definition.limits.longestDelay)
      for _ in 1..<series { _ = backoff.next() }
      return backoff.next()
    }
  }

  /// Makes one attempt. It waits for its time, and no longer than the time limit. The engine waits for less.
  private func made(_ job: EffectJob, _ attempt: EffectAttempts.Begun) async -> Result<Void, any Error> {
    do {
      try Task.checkCancellation()
      if attempt.wait > .zero { try await Machine.sleep(for: attempt.wait) }
    } catch { return .failure(error) }
    var logger = self.logger
    logger[metadataKey: "stream"] = "\(job.event.stream)"
    logger[metadataKey: "key"] = "\(job.key)"
    let context = EffectContext(
      key: job.key, attempt: attempt.number, time: attempt.at, recordedAt: job.event.recordedAt, logger: logger,
      store: store, opening: opening)
    let limit = definition.limits.timeLimit
    let (results, continuation) = AsyncStream.makeStream(
      of: Result<Void, any Error>.self, bufferingPolicy: .bufferingOldest(1))
    // Unstructured, so that nothing waits for a call that ignores its cancellation. A call that ends when it is cancelled, as
    // `Effect.perform` demands, does not outlive this function.
    let call = Task {
      do {
        try await job.call.perform(context)
        continuation.yield(.success(()))
      } catch { continuation.yield(.failure(error)) }
    }
    let start = Machine.now
    let alarm = Task {
      if limit > Self.patience {
        try await Machine.sleep(until: start + Self.patience)
        job.answer(.success(job.underWay(attempt.number)))
      }
      try await Machine.sleep(until: start + limit)
      continuation.yield(.failure(ReactionFailure(description: "no end within \(limit)", failureKind: .retry)))
    }
    defer {
      call.cancel()
      alarm.cancel()
    }
    for await result in results { return result }
    return .failure(CancellationError())
  }

  private func log(_ job: EffectJob, _ attempt: EffectAttempts.Begun, _ end: EffectAttempts.End) {
    let place = job.place(attempt.number, end.error ?? "")
    switch end.outcome {
    case .succeeded: break
    case .failed: logger.warning("a call failed; it is tried again", metadata: place)
    case .gaveUp: logger.critical("a call failed; it waits for a person", metadata: place)
    case .interrupted: logger.warning("a call was interrupted by the end of the process", metadata: place)
    }
  }
}
