internal import Metrics
internal import Projections
internal import Synchronization

/// Answers about one thing each, kept in memory for as long as everything that they were made of stands where it stood when they
/// were read.
final class ResponseCache: Sendable {
  private struct Entry {
    let result: QueryResult
    let tag: String
    let mark: ReadProgress.Mark

    /// With its key, its mark, and its places in the tables, by estimate.
    var cost: Int { result.bytes.count + 600 }
  }

  /// What was asked for lately is in the first table or comes back to it from the second; when the first is half of the
  /// capacity it becomes the second, and what nobody has asked for since goes.
  private struct State {
    var recent: [[Reads]: Entry] = [:]
    var earlier: [[Reads]: Entry] = [:]
    var recentBytes = 0
    var earlierBytes = 0

    var bytes: Int { recentBytes + earlierBytes }

    /// Takes an entry out, wherever it is.
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

  /// - Parameter capacity: bytes of answers.
  init(capacity: Int) { self.capacity = capacity }

  /// - Parameters:
  ///   - reads: everything that the answer is made of, the one thing that it is about first.
  ///   - mark: where that stands; nil where it is not known for this moment: then nothing is found.
  func find(_ reads: [Reads], at mark: ReadProgress.Mark?) -> (result: QueryResult, tag: String)? {
    guard let mark else {
      misses.increment()
      return nil
    }
    let found = state.withLock { state -> Entry? in
      if let entry = state.recent[reads] { return entry.mark == mark ? entry : nil }
      // What is stale makes room.
      guard let entry = state.remove(reads), entry.mark == mark else { return nil }
      state.insert(entry, reads, atMost: capacity)
      return entry
    }
    (found == nil ? misses : hits).increment()
    return found.map { ($0.result, $0.tag) }
  }

  /// - Parameter mark: of before the answer was read.
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
