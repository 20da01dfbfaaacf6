import Postgres
import ServiceKit
import Synchronization

/// Makes one query of the reads by key that come while others are under way: the same key is read once, and different keys
/// share a round trip. Nobody gets what was read before they asked.
final class Coalescer<Value: Sendable>: Sendable {
  private typealias Continuation = CheckedContinuation<Value?, any Error>

  private struct State {
    var queued: [String: [Continuation]] = [:]
    var waiting = 0
    var underWay = 0
  }

  /// Reads that may wait.
  private static var crowd: Int { 20_000 }

  private let lanes: Int
  private let limit: Int
  private let read: @Sendable ([String]) async throws -> [String: Value]
  private let state = Mutex(State())

  /// - Parameters:
  ///   - lanes: queries under way at once.
  ///   - limit: keys of one query.
  init(lanes: Int = 2, limit: Int = 256, _ read: @escaping @Sendable ([String]) async throws -> [String: Value]) {
    self.lanes = lanes
    self.limit = limit
    self.read = read
  }

  /// nil where there is nothing of that key.
  func value(_ key: String) async throws -> Value? {
    try await withCheckedThrowingContinuation { continuation in
      let (isCrowded, batch) = state.withLock { state -> (Bool, [String: [Continuation]]?) in
        guard state.waiting < Self.crowd else { return (true, nil) }
        state.queued[key, default: []].append(continuation)
        state.waiting += 1
        return (false, Self.next(&state, lanes, limit))
      }
      if isCrowded {
        continuation.resume(throwing: Problem.unavailable("Too many reads wait; try again in a moment."))
      } else if let batch {
        start(batch)
      }
    }
  }

  private static func next(_ state: inout State, _ lanes: Int, _ limit: Int) -> [String: [Continuation]]? {
    guard state.underWay < lanes, !state.queued.isEmpty else { return nil }
    state.underWay += 1
    guard state.queued.count > limit else {
      defer { state.queued = [:] }
      return state.queued
    }
    var batch: [String: [Continuation]] = [:]
    for key in state.queued.keys.prefix(limit) { batch[key] = state.queued.removeValue(forKey: key) }
    return batch
  }

  private func start(_ batch: [String: [Continuation]]) {
    Task {
      var batch = batch
      while true {
        do {
          let values = try await read(Array(batch.keys))
          for (key, continuations) in batch {
            for continuation in continuations { continuation.resume(returning: values[key]) }
          }
        } catch {
          for continuation in batch.values.joined() { continuation.resume(throwing: error) }
        }
        let done = batch.values.reduce(0) { $0 + $1.count }
        let more = state.withLock { state in
          state.waiting -= done
          state.underWay -= 1
          return Self.next(&state, lanes, limit)
        }
        guard let more else { return }
        batch = more
      }
    }
  }
}
