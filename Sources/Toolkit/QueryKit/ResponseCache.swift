internal import Metrics
internal import Projections
internal import Synchronization

/// Keeps answers in memory, each about one stream. An entry is valid while everything that the answer was read from has
/// the same mark as before the read.
final class ResponseCache: Sendable {
  private struct Entry {
    let result: QueryResult
    let tag: String
    let mark: ReadProgress.Mark

    /// The estimated memory of the entry in bytes: 600 are for its key, its mark and its places in the tables.
    var cost: Int { result.bytes.count + 600 }
  }

  /// New entries, and entries that are found in `earlier`, go to `recent`. When `recent` has half of the capacity, it
  /// becomes `earlier`. The old entries of `earlier`, which were not read since, are dropped.
  private struct State {
    var recent: [[Reads]: Entry] = [:]
    var earlier: [[Reads]: Entry] = [:]
    var recentBytes = 0
    var earlierBytes = 0

    var bytes: Int { recentBytes + earlierBytes }

    /// Removes an entry from the table that has it.
    mutating func remove(_ reads: [Reads]) -> Entry? {
      if let entry = recent.removeValue(forKey: reads) {
        recentBytes -= entry.cost
        return entry
      }
      let entry = earlier.removeValue(forKey: reads)
      earlierBytes -= entry?.cost ?? 0
      return entry
    }

    mutating func insert(_ entry: Entry, _ reads: [Reads], atMost capacity: Int) {
      if recentBytes + entry.cost > capacity / 2 {
        (earlier, earlierBytes, recent, recentBytes) = (recent, recentBytes, [:], 0)
      }
      recent[reads] = entry
      recentBytes += entry.cost
    }
  }

  private let capacity: Int
  private let state = Mutex(State())
  private let hits = Counter(label: "query_cache_hits_total")
  private let misses = Counter(label: "query_cache_misses_total")
  private let size = Gauge(label: "query_cache_bytes")

  /// - Parameter capacity: the most bytes of entries, by estimate.
  init(capacity: Int) { self.capacity = capacity }

  /// - Parameters:
  ///   - reads: everything that the answer is made of; the stream that it is about comes first.
  ///   - mark: the current mark of `reads`. If it is not known (nil), the lookup is a miss.
  func find(_ reads: [Reads], at mark: ReadProgress.Mark?) -> (result: QueryResult, tag: String)? {
    guard let mark else {
      misses.increment()
      return nil
    }
    let found = state.withLock { state -> Entry? in
      if let entry = state.recent[reads] { return entry.mark == mark ? entry : nil }
      // Removes a stale entry too.
      guard let entry = state.remove(reads), entry.mark == mark else { return nil }
      state.insert(entry, reads, atMost: capacity)
      return entry
    }
    (found == nil ? misses : hits).increment()
    return found.map { ($0.result, $0.tag) }
  }

  /// - Parameter mark: the mark of `reads` before the answer was read.
  func keep(_ result: QueryResult, _ tag: String, of reads: [Reads], at mark: ReadProgress.Mark) {
    let entry = Entry(result: result, tag: tag, mark: mark)
    guard entry.cost <= capacity / 2 else { return }
    let bytes = state.withLock { state in
      _ = state.remove(reads)
      state.insert(entry, reads, atMost: capacity)
      return state.bytes
    }
    size.record(bytes)
  }
}
