internal import DequeModule
internal import EventSourcing
internal import Logging
internal import Metrics

// Streams that are not in memory are loaded outside the batches, so that a long stream delays only its own commands.
extension CommandProcessor {
  private static var concurrentLoads: Int { 4 }
  /// A load takes no more commands once they have this many streams.
  private static var streamsPerLoad: Int { 256 }
  /// The largest number of events per read, divided among the streams.
  private static var eventsPerRead: Int { 4_096 }

  func loadColdStreams() async {
    await withDiscardingTaskGroup { group in
      let slots = Slots(Self.concurrentLoads)
      for await _ in coldArrivals {
        while !cold.isEmpty, slots.take() {
          let commands = nextLoad()
          group.addTask {
            await self.load(commands)
            slots.giveBack()
            self.coldArrival.yield()
          }
        }
      }
    }
  }

  private func nextLoad() -> [PendingCommand] {
    var commands: [PendingCommand] = []
    var streams = 0
    while let pending = cold.first, commands.isEmpty || streams < Self.streamsPerLoad {
      streams += pending.command.streams.count
      commands.append(cold.removeFirst())
    }
    return commands
  }

  /// Loads the commands' streams. Each command goes on as soon as its own streams are loaded.
  private func load(_ commands: [PendingCommand]) async {
    let restores = restores
    var waiting = commands
    // The states so far, and the streams that may have more events.
    var states: [StreamID: StreamState] = [:]
    var unfinished: [StreamID: StreamCursor] = [:]
    var unreadable: [StreamID: EventDecodingError] = [:]
    do throws(EventStoreError) {
      var missing: [StreamID: AggregateReference] = [:]
      for pending in commands {
        for reference in pending.command.streams where states[reference.stream] == nil {
          states[reference.stream] = cache[reference.stream] ?? pending.loaded[reference.stream]
          if states[reference.stream] == nil { missing[reference.stream] = reference }
        }
      }
      states.merge(try await starts(of: missing)) { $1 }
      unfinished = missing.keys.reduce(into: [:]) { $0[$1] = states[$1]?.cursor }
      while true {
        var (left, lost): ([PendingCommand], [(PendingCommand, EventDecodingError)]) = ([], [])
        for pending in waiting {
          let streams = pending.command.streams.lazy.map(\.stream)
          if let error = streams.compactMap({ unreadable[$0] }).first {
            lost.append((pending, error))
          } else if streams.contains(where: { unfinished[$0] != nil }) {
            left.append(pending)
          } else {
            goOn(pending, restores == self.restores ? states : [:])
          }
        }
        waiting = left
        for (pending, error) in lost { await answerUnreadable(pending, error) }
        guard !waiting.isEmpty, !unfinished.isEmpty else { return }
        let limit = max(1, min(limits.readSize, Self.eventsPerRead / unfinished.count))
        let (pages, archived) = try await self.pages(of: unfinished, limit: limit)
        for (stream, error) in archived {
          logger.error("a stream cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
          (unreadable[stream], unfinished[stream]) = (error, nil)
        }
        for stream in unfinished.keys {
          let page = pages[stream] ?? []
          do throws(EventDecodingError) {
            try states[stream]?.apply(page)
            unfinished[stream] = page.count == limit ? states[stream]?.cursor : nil
          } catch {
            logger.error("a stream cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
            (unreadable[stream], unfinished[stream]) = (error, nil)
          }
          guard unfinished[stream] == nil, unreadable[stream] == nil, restores == self.restores,
            var state = states[stream],
            (cache[stream]?.version ?? .none) <= state.version
          else { continue }
          keepSnapshot(of: &state, stream)
          cache[stream] = state
        }
      }
    } catch {
      logger.error("cannot load streams", metadata: ["error": "\(error)"])
      fail(waiting, CommandError(reading: error))
    }
  }

  /// Reads the next events of each stream, at most `limit` of each. A stream of which some are archived fails alone.
  private func pages(
    of unfinished: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> ([StreamID: [RecordedEvent]], archived: [StreamID: EventDecodingError]) {
    do throws(EventStoreError) {
      return (try await store.events(in: unfinished, limit: limit), [:])
    } catch {
      guard case .archived(let reason) = error else { throw error }
      guard unfinished.count > 1 else {
        return ([:], unfinished.mapValues { _ in EventDecodingError.malformed(reason) })
      }
    }
    var (pages, archived): ([StreamID: [RecordedEvent]], [StreamID: EventDecodingError]) = ([:], [:])
    for (stream, cursor) in unfinished {
      let one = try await self.pages(of: [stream: cursor], limit: limit)
      pages.merge(one.0) { $1 }
      archived.merge(one.archived) { $1 }
    }
    return (pages, archived)
  }

  private func goOn(_ pending: PendingCommand, _ states: [StreamID: StreamState]) {
    var pending = pending
    for reference in pending.command.streams {
      if let state = states[reference.stream] { pending.loaded[reference.stream] = state }
    }
    enqueue(pending)
  }

  /// Answers a command that took effect before with its stored response; any other command fails.
  private func answerUnreadable(_ pending: PendingCommand, _ error: EventDecodingError) async {
    let request = pending.command.request
    var batch = AppendBatch(expectedVersions: [:], events: [])
    batch.commands = [
      AppendBatch.Command(key: request.key, fingerprint: request.fingerprint, eventCount: 0, response: nil)
    ]
    do throws(EventStoreError) {
      switch try await store.append(batch) {
      case .appended(_, _, let repeats, _), .notAppended(_, let repeats):
        if let stored = repeats[0] { return finish(pending, repeated: stored) }
      case .restored: forgetHistory()
      }
    } catch {
      logger.error("cannot look up an idempotency key", metadata: ["error": "\(error)"])
    }
    fail([pending], .unreadable(error))
  }

  /// Returns the streams' states from their snapshots, or their initial states.
  private func starts(
    of streams: [StreamID: AggregateReference]
  ) async throws(EventStoreError) -> [StreamID: StreamState] {
    var states = streams.mapValues { StreamState(new: $0) }
    for (stream, snapshot) in try await store.snapshots(
      of: streams.compactMapValues { $0.snapshotPolicy?.schemaVersion })
    {
      guard let reference = streams[stream] else { continue }
      do throws(EventDecodingError) {
        states[stream] = try StreamState(snapshot, of: reference)
        metrics.snapshotLoads.increment()
      } catch {
        // The events give the same state, but more slowly.
        metrics.failedSnapshots.increment()
        logger.warning("a snapshot cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
      }
    }
    return states
  }
}
