internal import EventSourcing
internal import Logging
internal import Metrics
internal import PostgresEventStore
internal import Synchronization

// Shares the pairs with other workers, and compares each with its partition's head.
extension ProjectionRunner {
  func adopt(_ new: [Pair], replacing: Bool) {
    if replacing { (pairs, stored, parked, reported) = ([:], [:], [:], [:]) }
    for pair in new {
      pairs[pair.partition.index] = pair
      stored[pair.partition.index] = pair.checkpoint
    }
    mailbox.accept(Set(pairs.keys))
    for (index, gauge) in partitionLags where pairs[index] == nil {
      gauge.destroy()
      partitionLags[index] = nil
    }
    metrics.owned.record(pairs.count)
  }

  func loadParked(_ partitions: [Partition]) async throws {
    guard !partitions.isEmpty else { return }
    for stream in try await store.parked(partitions, on: readStore) {
      parked[stream.partition, default: []].insert(stream.stream)
    }
  }

  /// Makes this worker's pairs those that the read store says are: forgets what others have taken, since a pair without
  /// events would never be refused a write, and takes anew what the read store, which a crash takes back by a moment, has
  /// otherwise than it was written.
  private func reconcile() async throws {
    let owned = try await store.owned(on: readStore)
    let unknown = owned.filter { pairs[$0.partition.index] == nil }
    let takenBack = owned.filter { pair in stored[pair.partition.index].map { $0 != pair.checkpoint } ?? false }
    let changed = unknown + takenBack
    if !changed.isEmpty {
      for pair in changed { forget(pair.partition.index) }
      adopt(changed, replacing: false)
      try await loadParked(changed.map(\.partition))
    }
    if !unknown.isEmpty {
      logger.warning("pairs are this worker's without its knowing", metadata: ["pairs": "\(unknown.count)"])
    }
    if !takenBack.isEmpty {
      metrics.takenBack.increment(by: takenBack.count)
      logger.warning(
        "the read store has lost its last transactions; they are applied again",
        metadata: ["pairs": "\(takenBack.count)"])
    }
    let mine = Set(owned.map(\.partition.index))
    let lost = pairs.keys.filter { !mine.contains($0) }
    guard !lost.isEmpty else { return }
    for index in lost { forget(index) }
    adopt([], replacing: false)
    metrics.fenced.increment()
    logger.warning("others have taken pairs over", metadata: ["pairs": "\(lost.count)", "left": "\(pairs.count)"])
  }

  private func forget(_ index: Int) {
    (pairs[index], stored[index], parked[index], reported[index]) = (nil, nil, nil, nil)
  }

  /// Gives up what is more than this worker's share, or takes what is less and nobody has.
  /// - Returns: false while this worker does not count yet.
  private func balance() async throws -> Bool {
    try await reconcile()
    guard let share = try await store.share(on: readStore) else { return false }
    if pairs.count > share {
      let given = pairs.keys.sorted().suffix(pairs.count - share).map { pairs[$0]!.partition }
      try await store.release(given, on: readStore)
      for partition in given { forget(partition.index) }
      adopt([], replacing: false)
      logger.info("gave pairs up", metadata: ["pairs": "\(given.count)", "left": "\(pairs.count)"])
    } else if pairs.count < share {
      let taken = try await store.claim(share - pairs.count, on: readStore)
      guard !taken.isEmpty else { return true }
      adopt(taken, replacing: false)
      try await loadParked(taken.map(\.partition))
      logger.info("took pairs", metadata: ["pairs": "\(taken.count)", "now": "\(pairs.count)"])
    }
    return true
  }

  func checkHeads() async throws {
    nextHeadCheck = rounds.next(within: settings.headInterval)
    if isAside {
      _ = try await events.incarnation()
      standsAside.store(false, ordering: .relaxed)
      logger.notice("both stores answer again")
    }
    // Not before this worker counts, and then often enough to take over in time.
    if try await !balance() { nextHeadCheck = min(nextHeadCheck, .now + .milliseconds(100)) }
    guard !pairs.isEmpty else { return }
    let look = try await headReader.read()
    let (incarnation, heads) = (look.incarnation, look.heads)
    var lag: Int64 = 0
    for index in pairs.keys {
      var pair = pairs[index]!
      if case .halted(let retryAt) = pair.mode, ContinuousClock.now >= retryAt {
        (pair.mode, pair.trouble) = (.catchingUp, nil)
      }
      if pair.incarnation != incarnation && pair.mode != .forked {
        report(pair.fork("the store is incarnation \(incarnation) now"), of: pair)
      }
      report(pair.observe(heads[index]), of: pair)
      let behind =
        pair.mode == .done ? 0 : max(0, heads[index].position.rawValue - pair.checkpoint.position.rawValue)
      lag = max(lag, behind)
      let gauge = partitionLags[index] ?? metrics.lag(of: index)
      partitionLags[index] = gauge
      gauge.record(behind)
      pairs[index] = pair
    }
    metrics.lag.record(lag)
    try await recordAge(heads)
    metrics.parked.record(parked.values.reduce(0) { $0 + $1.count })
    metrics.stopped.record(
      pairs.values.count { pair in
        if case .halted = pair.mode { true } else { pair.mode == .forked }
      })
    try await handleRequests()
    let changed = pairs.filter { reported[$0.key] != $0.value.mode }
    if !changed.isEmpty {
      try await store.report(Array(changed.values), on: readStore)
      for (index, pair) in changed { reported[index] = pair.mode }
    }
  }

  /// How long the oldest event that is not applied has waited; 0 where there is none.
  private func recordAge(_ heads: [PartitionHead]) async throws {
    let behind = pairs.values.filter {
      $0.mode != .done && heads[$0.partition.index].position > $0.checkpoint.position
    }
    var seconds = 0.0
    if let last = behind.min(by: { $0.checkpoint.position < $1.checkpoint.position }) {
      let page = try await events.page(
        of: last.partition, from: last.checkpoint.position.advanced(by: 1), categories: [], limit: PageLimit(events: 1))
      if let first = page.events.first {
        let now = Timestamp.now.microsecondsSince1970
        seconds = max(0, Double(now - first.recordedAt.microsecondsSince1970) / 1_000_000)
      }
    }
    metrics.age.record(seconds)
  }

  func report(_ verdict: Pair.Verdict, of pair: Pair) {
    switch verdict {
    case .duplicate, .notLive, .apply: break
    case .hole:
      metrics.holes.increment()
      logger.debug("deliveries are missing; reading the store", metadata: ["partition": "\(pair.partition)"])
    case .forked(let reason):
      logger.critical(
        "this partition's history has forked; it stops until the projection is rebuilt",
        metadata: ["partition": "\(pair.partition)", "reason": "\(reason)"])
    }
  }
}
