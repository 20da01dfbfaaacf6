internal import Foundation
public import Testing

/// How many tests that need servers run at once.
///
/// All of them at once would each be slow enough to miss the bounds of its waits. Tests that wait for their turn have
/// not started any of those.
actor Room {
  static let ofServers = Room(places: max(6, 3 * ProcessInfo.processInfo.activeProcessorCount))

  private var free: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(places: Int) { free = places }

  /// Runs `body` once there is room.
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

/// Waits for room: for tests that start processes, and need neither a database nor a virtual host.
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
