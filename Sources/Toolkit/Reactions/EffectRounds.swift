internal import Failures
internal import Synchronization

/// Does in one round what arrives while a round runs, so that many transactions wait for the disk together.
final class EffectRounds<Item: Sendable, Answer: Sendable>: Sendable {
  private struct Entry {
    let item: Item
    let continuation: CheckedContinuation<Answer, any Error>
  }

  private struct State {
    var waiting: [Entry] = []
    var isRunning = false
  }

  private let state = Mutex(State())
  /// How many wait for the next round.
  var waiting: Int { state.withLock { $0.waiting.count } }
  private let round: @Sendable ([Item]) async throws -> [Answer]

  /// - Parameter round: returns the answer to each item, in order.
  init(_ round: @escaping @Sendable ([Item]) async throws -> [Answer]) { self.round = round }

  /// Returns once the round with this item has ended. Cancelling the caller does not keep the item out of it.
  func join(_ item: Item) async throws -> Answer {
    try await withCheckedThrowingContinuation { continuation in
      let isFirst = state.withLock { state in
        state.waiting.append(Entry(item: item, continuation: continuation))
        defer { state.isRunning = true }
        return !state.isRunning
      }
      // Unstructured, but it ends with the last item that a caller waits for.
      if isFirst { Task { await run() } }
    }
  }

  private func run() async {
    while let entries = next() { await carryOut(entries) }
  }

  private func carryOut(_ entries: [Entry]) async {
    do {
      let answers = try await round(entries.map(\.item))
      for (entry, answer) in zip(entries, answers) { entry.continuation.resume(returning: answer) }
    } catch {
      guard entries.count > 1, FailureKind(error) == .refused else {
        for entry in entries { entry.continuation.resume(throwing: error) }
        return
      }
      // One of them is at fault, and fails alone.
      for entry in entries { await carryOut([entry]) }
    }
  }

  private func next() -> [Entry]? {
    state.withLock { state in
      defer { state.waiting = [] }
      state.isRunning = !state.waiting.isEmpty
      return state.isRunning ? state.waiting : nil
    }
  }
}
