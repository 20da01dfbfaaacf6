import EventSourcing
import Metrics
import Projections
import Synchronization

/// Answers about one stream each, kept in memory for as long as its partition stands where it stood when they were read.
final class AnswerCache: Sendable {
  private struct Entry {
    let answer: Answer
    let tag: String
    let mark: ReadProgress.Mark
  }

  private struct State {
    var entries: [Reads: Entry] = [:]
    var bytes = 0
  }

  private let capacity: Int
  private let state = Mutex(State())
  private let hits = Counter(label: "query_cache_hits_total")
  private let misses = Counter(label: "query_cache_misses_total")
  private let size = Gauge(label: "query_cache_bytes")

  /// - Parameter capacity: bytes of answers.
  init(capacity: Int) { self.capacity = capacity }

  func find(_ reads: Reads, at mark: ReadProgress.Mark) -> (answer: Answer, tag: String)? {
    let entry = state.withLock { $0.entries[reads] }
    guard let entry, entry.mark == mark else {
      misses.increment()
      return nil
    }
    hits.increment()
    return (entry.answer, entry.tag)
  }

  /// - Parameter mark: of before the answer was read.
  func keep(_ answer: Answer, _ tag: String, of reads: Reads, at mark: ReadProgress.Mark) {
    let cost = answer.bytes.count + 200
    let bytes = state.withLock { state in
      // Most of it is stale, or nobody asks for it: all goes, and what is asked for comes back.
      if state.bytes + cost > capacity { (state.entries, state.bytes) = ([:], 0) }
      if let old = state.entries.updateValue(Entry(answer: answer, tag: tag, mark: mark), forKey: reads) {
        state.bytes -= old.answer.bytes.count + 200
      }
      state.bytes += cost
      return state.bytes
    }
    size.record(bytes)
  }
}
