internal import Foundation
internal import Synchronization
internal import Testing

/// A running test case: its processes, and the folder of their logs and data.
///
/// A process lives until its test case ends, even if no variable holds it. The folder of a test case that passed is
/// removed; `scripts/test` keeps the logs of a failed one.
final class TestScope: Sendable {
  @TaskLocal private static var running: TestScope?

  /// The scope of processes that no test case has started: `scripts/test` ends these.
  private static let others = TestScope("others")
  static var current: TestScope { running ?? others }

  let folder: URL
  /// The processes; nil once the test case has ended.
  private let processes = Mutex<[ChildProcess]?>([])
  private let hasFailed = Mutex(false)

  private init(_ name: String) {
    let parent = URL(fileURLWithPath: TestEnvironment.variables["TEST_SCRATCH"] ?? NSTemporaryDirectory())
    // Test cases of one test with different arguments have the same name.
    let names = (["\(name)"] + (2...1000).map { "\(name)-\($0)" }).lazy
    folder =
      names.map { parent.appendingPathComponent($0) }.first {
        (try? FileManager.default.createDirectory(at: $0, withIntermediateDirectories: false)) != nil
      } ?? parent
  }

  /// Runs `body` for a test case, ends every process that `body` has started, and then runs `tearDown`. Of nested
  /// scopes, the outermost waits for room and owns the folder.
  static func run(
    for test: Test, _ testCase: Test.Case?, _ body: @Sendable () async throws -> Void,
    tearDown: @Sendable () async throws -> Void = {}
  ) async throws {
    if let running {
      try await running.finish(body, tearDown)
    } else {
      try await Room.ofServers.run { try await begin(for: test, testCase, body, tearDown) }
    }
  }

  private static func begin(
    for test: Test, _ testCase: Test.Case?, _ body: @Sendable () async throws -> Void,
    _ tearDown: @Sendable () async throws -> Void
  ) async throws {
    let file = test.sourceLocation.fileName.prefix { $0 != "." }
    let scope = TestScope("\(file).\(test.name.prefix { $0 != "(" })")
    // A failed expectation is an issue, not a thrown error.
    let watch: IssueHandlingTrait = .compactMapIssues { issue in
      scope.hasFailed.withLock { $0 = true }
      return issue
    }
    try await watch.provideScope(for: test, testCase: testCase) {
      try await $running.withValue(scope) { try await scope.finish(body, tearDown) }
    }
    if !scope.hasFailed.withLock({ $0 }) { try? FileManager.default.removeItem(at: scope.folder) }
  }

  private func finish(
    _ body: @Sendable () async throws -> Void, _ tearDown: @Sendable () async throws -> Void
  ) async throws {
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch {
      hasFailed.withLock { $0 = true }
      result = .failure(error)
    }
    await end()
    try await tearDown()
    try result.get()
  }

  /// Keeps a process until the test case ends. If it has ended already, the process ends at once.
  func keep(_ process: ChildProcess) {
    let isOver = processes.withLock { processes in
      processes?.append(process)
      return processes == nil
    }
    if isOver { process.end() }
  }

  /// Ends the processes in reverse order of their start: services before their servers.
  private func end() async {
    let all = processes.withLock { processes in
      defer { processes = nil }
      return processes ?? []
    }
    for process in all.reversed() { process.end() }
    try? await eventually("all end", within: .seconds(10)) { all.allSatisfy { !$0.isRunning } }
    for process in all { process.end(with: SIGKILL) }
    try? await eventually("all have ended") { all.allSatisfy { !$0.isRunning } }
  }
}
