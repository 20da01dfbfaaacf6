internal import CommandProcessing
internal import EventSourcing
internal import Logging
internal import Projections
internal import QueryKit
internal import Reactions

/// Lets everything follow from what is in the store: reactions, scheduled commands and rows. One caller at a time.
actor Followers {
  /// Events that reactions take, and scheduled commands, in one call.
  private static let most = 10_000

  private let store: InMemoryEventStore
  private let clock: MovedClock
  private let tables: Tables
  private let reactions: [ReactionDefinition]
  private let reactors: [Reactor<InMemoryEventStore>]
  private let scheduled: ScheduledInMemory
  private let deadlines: DeadlineRunner<InMemoryEventStore>
  private let heads: StoreHeads
  private let progress: ReadProgress

  /// For each reaction, the last event that it has taken, and the streams, or processes, that wait at an event.
  private var taken: [Position]
  private var parked: [Set<StreamID>]
  private var isPaused = false
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(
    _ store: InMemoryEventStore, _ clock: MovedClock, _ tables: Tables, _ reactions: [ReactionDefinition],
    _ processor: CommandProcessor<InMemoryEventStore>, _ heads: StoreHeads, _ progress: ReadProgress, logger: Logger
  ) {
    (self.store, self.clock, self.tables, self.reactions) = (store, clock, tables, reactions)
    (self.heads, self.progress) = (heads, progress)
    reactors = reactions.map { Reactor($0, processor) }
    scheduled = ScheduledInMemory(store, clock)
    deadlines = DeadlineRunner(reactions.flatMap(\.schedules), scheduled, processor, logger: logger)
    taken = reactions.map { _ in .start }
    parked = reactions.map { _ in [] }
  }

  func follow() async throws {
    await enter()
    defer { leave() }
    try await followAll()
  }

  func pause() { isPaused = true }

  func resume() async throws {
    isPaused = false
    try await follow()
  }

  func advance(by duration: Duration) async throws {
    await enter()
    defer { leave() }
    let end = clock.now.advanced(by: max(duration, .zero))
    while let next = await store.deadlines.first?.dueAt, next <= end {
      clock.move(to: next)
      try await followAll()
    }
    clock.move(to: end)
  }

  /// Keeps other callers out while this one waits for the store.
  private func enter() async {
    while isBusy { await withCheckedContinuation { waiting.append($0) } }
    isBusy = true
  }

  private func leave() {
    isBusy = false
    if !waiting.isEmpty { waiting.removeFirst().resume() }
  }

  /// - Throws: the first failure, after everything else has followed.
  private func followAll() async throws {
    var (failure, count): (Mismatch?, Int) = (nil, 0)
    while true {
      let before = count
      for index in reactions.indices { try await react(index, &count, &failure) }
      if try await fire(&failure) { count += 1 }
      guard count > before else { break }
      guard count <= Self.most else {
        throw Mismatch(description: "reactions and scheduled commands still follow one another after \(count) events")
      }
    }
    if !isPaused { await project(&failure) }
    await heads.look()
    await progress.refresh()
    if let failure { throw failure }
  }

  private func react(_ index: Int, _ count: inout Int, _ failure: inout Mismatch?) async throws {
    let reaction = reactions[index]
    for event in await store.events(after: taken[index], limit: Self.most) {
      taken[index] = event.position
      count += 1
      guard reaction.categories.contains(String(event.stream.category)) else { continue }
      let sequence = reaction.sequence(of: event)
      guard !parked[index].contains(sequence) else { continue }
      do { try await reactors[index].react(to: [event], of: store.historyID()) } catch {
        parked[index].insert(sequence)
        failure = failure ?? Mismatch(of: "the reaction \(reaction.name)", at: event, error)
      }
    }
  }

  /// Carries out the oldest scheduled command that is due.
  /// - Returns: whether there was one.
  private func fire(_ failure: inout Mismatch?) async throws -> Bool {
    guard let next = await store.deadlines.first, next.dueAt <= clock.now else { return false }
    guard try await deadlines.fireDue(atMost: 1) > 0 else {
      let name = next.deadline.command
      throw Mismatch(description: "\(name) was scheduled, and no reaction has it among its `schedules`")
    }
    if let failed = scheduled.takeFailure() { failure = failure ?? failed }
    return true
  }

  private func project(_ failure: inout Mismatch?) async {
    for event in await store.events(after: tables.progress.position, limit: .max) {
      for model in tables.models where !tables.progress.isParked(event.stream, in: model.name) {
        do { try await model.apply(event) } catch {
          tables.progress.park(event, in: model.name)
          failure = failure ?? Mismatch(of: "the read model \(model.name)", at: event, error)
        }
      }
      tables.progress.advance(to: event.position)
    }
  }
}

extension Mismatch {
  fileprivate init(of what: String, at event: RecordedEvent, _ error: any Error) {
    self.init(
      description:
        "\(what) fails at the event \(event.type) \(event.version) of \(event.stream), which parks the stream: \(error)"
    )
  }
}
