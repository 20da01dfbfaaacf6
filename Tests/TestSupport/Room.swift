internal import Foundation
public import Testing

/// Limits how many tests with servers run at once.
///
/// If all ran at once, each would be too slow for the bounds of its waits. The time of those waits starts only when a
/// test has its place.
actor Room {
  static let ofServers = Room(places: max(6, 3 * ProcessInfo.processInfo.activeProcessorCount))

  private var free: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(places: Int) { free = places }

  /// Runs `body` once a place is free.
  nonisolated func run(_ body: () async throws -> Void) async throws {
    await enter()
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    await leave()
    try result.get()
  }

  private func enter() async {
    if free > 0 { free -= 1 } else { await withCheckedContinuation { waiting.append($0) } }
  }

  private func leave() {
    if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
  }
}

/// Waits for room. For tests that start processes and need neither a database nor a virtual host.
public struct RoomTrait: TestTrait, SuiteTrait, TestScoping {
  public var isRecursive: Bool { true }

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await TestScope.run(for: test, testCase, function)
  }
}

extension Trait where Self == RoomTrait {
  public static var whenThereIsRoom: Self { RoomTrait() }
}
