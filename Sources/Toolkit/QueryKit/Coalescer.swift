internal import ServiceKit
internal import Synchronization

/// Makes one query of the reads by key that come while others are under way: the same key is read once, and different keys
/// share a round trip. Nobody gets what was read before they asked.
public final class Coalescer<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private typealias Continuation = CheckedContinuation<Value?, any Error>

  private struct State {
    var queued: [Key: [Continuation]] = [:]
    /// The keys that are queued, in the order in which they came.
    var order: [Key] = []
    var waiting = 0
    var underWay = 0
  }

  /// Reads that may wait.
  private static var crowd: Int { 20_000 }

  private let lanes: Int
  private let limit: Int
  private let read: @Sendable ([Key]) async throws -> [Key: Value]
  private let state = Mutex(State())

  /// - Parameters:
  ///   - lanes: queries under way at once.
  ///   - limit: keys of one query.
  public init(lanes: Int = 2, limit: Int = 256, _ read: @escaping @Sendable ([Key]) async throws -> [Key: Value]) {
    self.lanes = lanes
    self.limit = limit
    self.read = read
  }

  /// nil where there is nothing of that key.
  public func value(_ key: Key) async throws -> Value? {
    try await withCheckedThrowingContinuation { continuation in
      let (isCrowded, batch) = state.withLock { state -> (Bool, [Key: [Continuation]]?) in
        guard state.waiting < Self.crowd else { return (true, nil) }
        if state.queued[key] == nil { state.order.append(key) }
        state.queued[key, default: []].append(continuation)
        state.waiting += 1
        return (false, Self.next(&state, lanes, limit))
      }
      if isCrowded {
        continuation.resume(
          throwing: Problem.unavailable("Too many reads wait; try again in a moment.", isLogged: false))
      } else if let batch {
        start(batch)
      }
    }
  }

  private static func next(_ state: inout State, _ lanes: Int, _ limit: Int) -> [Key: [Continuation]]? {
    guard state.underWay < lanes, !state.queued.isEmpty else { return nil }
    state.underWay += 1
    guard state.queued.count > limit else {
      defer { (state.queued, state.order) = ([:], []) }
      return state.queued
    }
    var batch: [Key: [Continuation]] = [:]
    for key in state.order.prefix(limit) { batch[key] = state.queued.removeValue(forKey: key) }
    state.order.removeFirst(limit)
    return batch
  }

  private func start(_ batch: [Key: [Continuation]]) {
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

/// Makes one query of those that are asked for while the same one is under way: they share the next one, which begins after all
/// of them have asked.
final class SingleFlight: Sendable {
  private typealias Continuation = CheckedContinuation<QueryResult?, any Error>

  /// For each query that is under way, who waits for the next one.
  private let flights = Mutex<[String: [Continuation]]>([:])

  /// - Parameters:
  ///   - key: names the query: the same key stands for the same answer.
  ///   - body: asks.
  func answer(_ key: String, _ body: @escaping @Sendable () async throws -> QueryResult?) async throws -> QueryResult? {
    let isFirst = flights.withLock { flights in
      guard flights[key] == nil else { return false }
      flights[key] = []
      return true
    }
    guard isFirst else {
      return try await withCheckedThrowingContinuation { continuation in
        let isAlone = flights.withLock { flights in
          // What was under way has ended meanwhile.
          guard flights[key] != nil else {
            flights[key] = [continuation]
            return true
          }
          flights[key]!.append(continuation)
          return false
        }
        if isAlone { Task { await self.go(on: key, body) } }
      }
    }
    do {
      let answer = try await body()
      leave(key, body)
      return answer
    } catch {
      leave(key, body)
      throw error
    }
  }

  /// Has the next one begin, where anybody waits for it.
  private func leave(_ key: String, _ body: @escaping @Sendable () async throws -> QueryResult?) {
    let isAwaited = flights.withLock { flights in
      if flights[key]?.isEmpty ?? true { flights[key] = nil }
      return flights[key] != nil
    }
    if isAwaited { Task { await self.go(on: key, body) } }
  }

  private func go(on key: String, _ body: @escaping @Sendable () async throws -> QueryResult?) async {
    while true {
      let waiting = flights.withLock { flights -> [Continuation] in
        guard let waiting = flights[key], !waiting.isEmpty else {
          flights[key] = nil
          return []
        }
        flights[key] = []
        return waiting
      }
      guard !waiting.isEmpty else { return }
      do {
        let answer = try await body()
        for continuation in waiting { continuation.resume(returning: answer) }
      } catch {
        for continuation in waiting { continuation.resume(throwing: error) }
      }
    }
  }
}
