internal import DequeModule
internal import EventSourcing
internal import Logging
internal import Metrics

// Streams that are not in memory are loaded beside the batches, so that a long one holds up its own
// commands alone.
extension CommandProcessor {
  /// Loads under way at once, and commands that one is made for.
  private static var concurrentLoads: Int { 4 }
  private static var loadSize: Int { 64 }

  func loadColdStreams() async {
    await withDiscardingTaskGroup { group in
      let slots = Slots(Self.concurrentLoads)
      for await _ in coldArrivals {
        while !cold.isEmpty, slots.take() {
          let commands = Array(cold.prefix(Self.loadSize))
          cold.removeFirst(commands.count)
          group.addTask {
            await self.load(commands)
            slots.giveBack()
            self.coldArrival.yield()
          }
        }
      }
    }
  }

  private func load(_ commands: [PendingCommand]) async {
    var missing: [StreamID: AggregateReference] = [:]
    for reference in commands.lazy.flatMap(\.command.streams) where cache[reference.stream] == nil {
      missing[reference.stream] = reference
    }
    do throws(EventStoreError) {
      let (states, unreadable) = try await states(of: missing)
      for (stream, var state) in states where (cache[stream]?.version ?? .none) <= state.version {
        keepSnapshot(of: &state, stream)
        cache[stream] = state
      }
      for var pending in commands {
        if let error = pending.command.streams.lazy.compactMap({ unreadable[$0.stream] }).first {
          fail([pending], .unreadable(error))
        } else {
          for reference in pending.command.streams { pending.loaded[reference.stream] = states[reference.stream] }
          enqueue(pending)
        }
      }
    } catch {
      logger.error("cannot load streams", metadata: ["error": "\(error)"])
      if case .historyChanged(let reason) = error {
        fail(commands, .historyChanged(reason))
      } else {
        fail(commands, .unavailable("\(error)"))
      }
    }
  }

  /// Folds streams from their snapshots, where there are any, and the events after them, a page at a time.
  private func states(
    of streams: [StreamID: AggregateReference]
  ) async throws(EventStoreError) -> ([StreamID: StreamState], unreadable: [StreamID: EventDecodingError]) {
    var states = streams.mapValues { StreamState(new: $0) }
    for (stream, snapshot) in try await store.snapshots(
      of: streams.compactMapValues { $0.snapshotPolicy?.schemaVersion })
    {
      guard let reference = streams[stream] else { continue }
      do throws(EventDecodingError) {
        states[stream] = try StreamState(snapshot, of: reference)
        metrics.snapshotLoads.increment()
      } catch {
        // The events tell the same, if more slowly.
        metrics.failedSnapshots.increment()
        logger.warning("a snapshot cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
      }
    }
    var unreadable: [StreamID: EventDecodingError] = [:]
    var unfinished = states.mapValues(\.version)
    while !unfinished.isEmpty {
      let pages = try await store.events(in: unfinished, limit: limits.readSize)
      unfinished = [:]
      for (stream, page) in pages {
        do throws(EventDecodingError) {
          try states[stream]?.apply(page)
          if page.count == limits.readSize, let last = page.last { unfinished[stream] = last.version }
        } catch {
          logger.error("a stream cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
          unreadable[stream] = error
          states[stream] = nil
        }
      }
    }
    return (states, unreadable)
  }
}
