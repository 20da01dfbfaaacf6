internal import EventSourcing
internal import Logging
internal import Machine
internal import Metrics
internal import PostgresEventStore
internal import Synchronization

// Shares the assignments with other workers, and compares each with its partition's head.
extension ProjectionRunner {
  func adopt(_ new: [StoredAssignment], replacing: Bool) {
    if replacing { (assignments, stored, parked, unwritten, reported) = ([:], [:], [:], [:], [:]) }
    for assignment in new {
      assignments[assignment.partition.index] = PartitionAssignment(assignment, until: generation.until)
      stored[assignment.partition.index] = assignment.checkpoint
    }
    mailbox.accept(Set(assignments.keys))
    for (index, gauge) in partitionLags where assignments[index] == nil {
      gauge.destroy()
      partitionLags[index] = nil
    }
    metrics.owned.record(assignments.count)
  }

  func loadParked(_ partitions: [Partition]) async throws {
    guard !partitions.isEmpty else { return }
    for stream in try await store.parked(partitions, of: generation) {
      parked[stream.partition, default: []].insert(stream.stream)
    }
  }

  /// Makes this worker's assignments match the read store.
  ///
  /// It drops assignments that other workers have taken: an assignment without events writes nothing, so no rejected
  /// write would show the loss. It reloads assignments whose stored checkpoint differs from the one that was written:
  /// a crash of the read store can undo the last transactions.
  private func reconcile() async throws {
    let owned = try await store.owned(lane)
    let unknown = owned.filter { assignments[$0.partition.index] == nil }
    let takenBack = owned.filter { assignment in
      let known = assignments[assignment.partition.index]
      return stored[assignment.partition.index].map { $0 != assignment.checkpoint } ?? false
        // After a restore, reactions are told the new history id.
        || known.map { $0.historyID != assignment.historyID } ?? false
    }
    let changed = unknown + takenBack
    if !changed.isEmpty {
      for assignment in changed { forget(assignment.partition.index) }
      adopt(changed, replacing: false)
      try await loadParked(changed.map(\.partition))
    }
    if !unknown.isEmpty {
      logger.warning(
        "this worker owns assignments that it did not know of", metadata: ["assignments": "\(unknown.count)"])
    }
    if !takenBack.isEmpty {
      metrics.takenBack.increment(by: takenBack.count)
      logger.warning(
        "the read store lost its last transactions; applies their events again",
        metadata: ["assignments": "\(takenBack.count)"])
    }
    let mine = Set(owned.map(\.partition.index))
    let lost = assignments.keys.filter { !mine.contains($0) }
    guard !lost.isEmpty else { return }
    for index in lost { forget(index) }
    adopt([], replacing: false)
    metrics.fenced.increment()
    logger.warning(
      "other workers took over assignments", metadata: ["assignments": "\(lost.count)", "left": "\(assignments.count)"])
  }

  private func forget(_ index: Int) {
    (assignments[index], stored[index], parked[index]) = (nil, nil, nil)
    (unwritten[index], reported[index]) = (nil, nil)
  }

  /// Releases assignments beyond this worker's share, or claims unowned ones up to it.
  /// - Returns: false while the read store does not count this worker yet.
  private func balance() async throws -> Bool {
    try await reconcile()
    guard let share = lane.share(among: try await store.workers(of: generation.service)) else { return false }
    if assignments.count > share {
      let given = assignments.keys.sorted().suffix(assignments.count - share).map { assignments[$0]!.partition }
      try await store.release(given, lane)
      for partition in given { forget(partition.index) }
      adopt([], replacing: false)
      logger.info("released assignments", metadata: ["assignments": "\(given.count)", "left": "\(assignments.count)"])
    } else if assignments.count < share {
      let taken = try await store.claim(share - assignments.count, lane)
      guard !taken.isEmpty else { return true }
      adopt(taken, replacing: false)
      try await loadParked(taken.map(\.partition))
      logger.info("took assignments", metadata: ["assignments": "\(taken.count)", "now": "\(assignments.count)"])
    }
    return true
  }

  func checkHeads() async throws {
    nextHeadCheck = rounds.next(within: settings.headInterval)
    if isSuspended {
      _ = try await events.historyID()
      suspended.store(false, ordering: .relaxed)
      logger.notice("both stores answer again")
    }
    // Until the read store counts this worker, it looks every 100 ms, so that it takes over in time.
    if try await !balance() { nextHeadCheck = min(nextHeadCheck, Machine.now + .milliseconds(100)) }
    guard !assignments.isEmpty else { return }
    let look = try await headReader.read()
    let (historyID, heads) = (look.historyID, look.heads)
    var lag: Int64 = 0
    for index in assignments.keys {
      var assignment = assignments[index]!
      if case .halted(let retryAt) = assignment.mode, Machine.now >= retryAt {
        (assignment.mode, assignment.trouble) = (.catchingUp, nil)
      }
      if assignment.historyID != historyID && assignment.mode != .forked {
        report(assignment.fork("the store's history id is \(historyID) now"), of: assignment)
      }
      report(assignment.observe(heads[index]), of: assignment)
      let behind =
        assignment.mode == .done ? 0 : max(0, heads[index].position.rawValue - assignment.checkpoint.position.rawValue)
      lag = max(lag, behind)
      let gauge = partitionLags[index] ?? metrics.lag(of: index)
      partitionLags[index] = gauge
      gauge.record(behind)
      assignments[index] = assignment
    }
    metrics.lag.record(lag)
    try await recordAge(heads)
    metrics.stopped.record(
      assignments.values.count { assignment in
        if case .halted = assignment.mode { true } else { assignment.mode == .forked }
      })
    try await handleRequests()
    let changed = assignments.filter { reported[$0.key] != $0.value.mode }
    if !changed.isEmpty {
      try await store.report(changed.values.map(\.report), lane)
      for (index, assignment) in changed { reported[index] = assignment.mode }
    }
  }

  /// Records how long the oldest event that is not applied has waited, in seconds; 0 if none waits.
  private func recordAge(_ heads: [PartitionHead]) async throws {
    let behind = assignments.values.filter {
      $0.mode != .done && heads[$0.partition.index].position > $0.checkpoint.position
    }
    var seconds = 0.0
    if let last = behind.min(by: { $0.checkpoint.position < $1.checkpoint.position }) {
      let page: PartitionPage
      do throws(EventStoreError) {
        page = try await events.page(
          of: last.partition, from: last.checkpoint.position.advanced(by: 1), categories: [],
          limit: PageLimit(events: 1))
      } catch {
        // Nobody can tell how old it is. The partition stops for that, and is reported as stopped.
        if case .archived = error { return }
        throw error
      }
      if let first = page.events.first {
        let now = Timestamp.now.microsecondsSince1970
        seconds = max(0, Double(now - first.recordedAt.microsecondsSince1970) / 1_000_000)
      }
    }
    metrics.age.record(seconds)
  }

  func report(_ verdict: PartitionAssignment.Verdict, of assignment: PartitionAssignment) {
    switch verdict {
    case .duplicate, .notLive, .apply: break
    case .gap:
      metrics.gaps.increment()
      logger.debug(
        "deliveries are missing; reads the events from the store", metadata: ["partition": "\(assignment.partition)"])
    case .forked(let reason):
      logger.critical(
        "this partition was projected from another history; it stops until the projection is rebuilt",
        metadata: ["partition": "\(assignment.partition)", "reason": "\(reason)"])
    }
  }
}
