internal import EventSourcing
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
  }

  /// Bytes per entry in addition to its answer, by estimate: its key, its mark and its places in the tables.
  private static let overhead = 600

  private let entries: Mutex<BoundedCache<[Reads], Entry>>
  private let hits = Counter(label: "query_cache_hits_total")
  private let misses = Counter(label: "query_cache_misses_total")
  private let size = Gauge(label: "query_cache_bytes")

  /// - Parameter capacity: the most bytes of entries, by estimate.
  init(capacity: Int) { entries = Mutex(BoundedCache(capacity: capacity)) }

  /// - Parameters:
  ///   - reads: everything that the answer is made of; the stream that it is about comes first.
  ///   - mark: the current mark of `reads`. If it is not known (nil), the lookup is a miss.
  func find(_ reads: [Reads], at mark: ReadProgress.Mark?) -> (result: QueryResult, tag: String)? {
    guard let mark, let found = entries.withLock({ $0.value(of: reads) }), found.mark == mark else {
      misses.increment()
      return nil
    }
    hits.increment()
    return (found.result, found.tag)
  }

  /// - Parameter mark: the mark of `reads` before the answer was read.
  func keep(_ result: QueryResult, _ tag: String, of reads: [Reads], at mark: ReadProgress.Mark) {
    let entry = Entry(result: result, tag: tag, mark: mark)
    let bytes = entries.withLock { entries in
      entries.insert(entry, for: reads, cost: result.bytes.count + Self.overhead)
      return entries.cost
    }
    size.record(bytes)
  }
}
