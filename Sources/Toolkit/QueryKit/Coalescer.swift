internal import HTTPKit
internal import Synchronization

/// Combines reads by key that arrive while others run: the same key is read once, and different keys share a query. A
/// caller never gets a value that was read before its call.
public final class Coalescer<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private typealias Continuation = CheckedContinuation<Value?, any Error>

  private struct State {
    var queued: [Key: [Continuation]] = [:]
    /// The queued keys in order of arrival.
    var order: [Key] = []
    var waiting = 0
    var underWay = 0
  }

  /// The most reads that may wait for a value; further ones are refused.
  private static var crowd: Int { 20_000 }

  private let lanes: Int
  private let limit: Int
  private let read: @Sendable ([Key]) async throws -> [Key: Value]
  private let state = Mutex(State())

  /// Creates a coalescer.
  /// - Parameters:
  ///   - lanes: the most queries that run at once.
  ///   - limit: the most keys of one query.
  ///   - read: returns the values of those keys that exist.
  public init(lanes: Int = 2, limit: Int = 256, _ read: @escaping @Sendable ([Key]) async throws -> [Key: Value]) {
    self.lanes = lanes
    self.limit = limit
    self.read = read
  }

  /// Returns the value of a key, or nil if there is none.
  /// - Throws: a `Problem` if 20,000 reads wait already, and the errors of `read`.
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

/// Combines equal queries that arrive while one of them runs. They share the next run, which starts after all of them
/// have arrived.
final class SingleFlight: Sendable {
  private typealias Continuation = CheckedContinuation<QueryResult?, any Error>

  /// For each query that runs, the requests that wait for its next run.
  private let flights = Mutex<[String: [Continuation]]>([:])

  /// - Parameters:
  ///   - key: equal keys have equal answers.
  ///   - body: runs the query.
  func answer(_ key: String, _ body: @escaping @Sendable () async throws -> QueryResult?) async throws -> QueryResult? {
    let isFirst = flights.withLock { flights in
      guard flights[key] == nil else { return false }
      flights[key] = []
      return true
    }
    guard isFirst else {
      return try await withCheckedThrowingContinuation { continuation in
        let isAlone = flights.withLock { flights in
          // The query that was running has ended meanwhile.
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

  /// Starts the next run if requests wait for it.
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
