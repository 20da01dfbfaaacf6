internal import EventLoop
internal import EventSourcing
internal import Logging
internal import Machine
internal import Metrics
internal import ServiceLifecycle
internal import Synchronization

// Looks at the server for all waiting requests, and answers them.
extension ReadProgress {
  /// The time between two looks while a request waits.
  private static let haste = Duration.milliseconds(3)

  package func run() async {
    await cancelWhenGracefulShutdown {
      // Answers requests at their deadline, even if the server is slow.
      async let punctual: Void = self.keepTime()
      var nextRecord = Machine.now
      while !Task.isCancelled {
        await self.look()
        self.settle()
        if Machine.now >= nextRecord {
          self.recordLag()
          nextRecord = Machine.now + .seconds(1)
        }
        let isAwaited = self.state.withLock { !$0.waiters.isEmpty }
        if isAwaited {
          try? await Machine.sleep(for: Self.haste)
        } else {
          await self.wakeup.wait(upTo: self.activity.interval)
        }
      }
      await punctual
    }
    // No look follows: release the remaining requests.
    let left = state.withLock { state in
      defer { state.waiters = [:] }
      return state.waiters.values.map(\.continuation)
    }
    for continuation in left { continuation.resume(returning: .late) }
  }

  /// Records the lags, also while the server does not answer: they then grow.
  private func recordLag() {
    let (serving, head) = (state.withLock { $0.serving }, heads.last)
    for name in serving.keys {
      let place = [("projection", name), ("server", host)]
      guard let freshness = serving[name]?.progress(of: Reads(name)) else { continue }
      // If it was never seen complete, the lag is at least the time since the first look.
      let age = Machine.now - (freshness.asOf ?? began)
      Gauge(label: "read_model_lag_seconds", dimensions: place).record(age / .seconds(1))
      if let head {
        Gauge(label: "read_model_lag_positions", dimensions: place)
          .record(max(0, head.rawValue - freshness.position.rawValue))
      }
    }
  }

  /// Looks once, and answers the requests whose result is known then. For an owner that does not call `run`.
  package func refresh() async {
    await look()
    settle()
  }

  /// Answers waiting requests at their deadlines, until it is cancelled.
  package func keepTime() async {
    while !Task.isCancelled {
      guard state.withLock({ !$0.waiters.isEmpty }) else {
        await firstWaiter.wait(upTo: .seconds(1))
        continue
      }
      try? await Machine.sleep(for: .milliseconds(20))
      settle()
    }
  }

  /// Answers the requests whose result is known, and those whose deadline has passed.
  private func settle() {
    let (settled, left) = state.withLock { state in
      let now = Machine.now
      var settled: [(CheckedContinuation<Outcome, Never>, Outcome)] = []
      for (id, waiter) in state.waiters {
        guard let outcome = Self.outcome(of: waiter.targets, state) ?? (waiter.deadline <= now ? .late : nil)
        else { continue }
        settled.append((waiter.continuation, outcome))
        state.waiters[id] = nil
      }
      return (settled, state.waiters.count)
    }
    waiting.record(left)
    for (continuation, outcome) in settled { continuation.resume(returning: outcome) }
  }

  private func look() async {
    let (known, begun) = (heads.known, Machine.now)
    do {
      let reading = try await read(known.historyID)
      state.withLock { state in
        var serving: [String: ServingProgress] = [:]
        for one in reading.serving {
          let own = reading.parked.filter { $0.projection == one.projection }
            .map { ($0.stream.wideHash, $0.position.rawValue) }
          serving[one.projection] = ServingProgress(
            generation: one.generation, partitioning: one.partitioning,
            historyID: known.historyID ?? one.historyID, positions: one.positions,
            parked: Dictionary(own) { first, _ in first }, heads: known.heads, before: state.serving[one.projection])
        }
        state.serving = serving
        state.readAt = begun
        state.isFailing = false
      }
    } catch {
      guard !Task.isCancelled else { return }
      let isNew = state.withLock { state in
        defer { state.isFailing = true }
        return !state.isFailing
      }
      if isNew {
        logger.warning("cannot read the progress of the read store", metadata: ["error": "\(error)"])
      }
      try? await Machine.sleep(for: .milliseconds(100))
    }
  }
}
