internal import Foundation
internal import Synchronization
internal import Testing

/// One test case that runs: the processes that it started, and the folder of their logs and data.
///
/// A process lives until its test case ends, whatever variables hold it or let go of it. The folder of a test case
/// that passed is removed; what the processes of a failed one logged is kept by `scripts/test`.
final class TestScope: Sendable {
  @TaskLocal private static var running: TestScope?

  /// Of processes that no test case has started: `scripts/test` ends these.
  private static let others = TestScope("others")
  static var current: TestScope { running ?? others }

  let folder: URL
  /// nil once the test case has ended.
  private let processes = Mutex<[ChildProcess]?>([])
  private let hasFailed = Mutex(false)

  private init(_ name: String) {
    let parent = URL(fileURLWithPath: TestEnvironment.variables["TEST_SCRATCH"] ?? NSTemporaryDirectory())
    // Test cases with different arguments have one name.
    let names = (["\(name)"] + (2...1000).map { "\(name)-\($0)" }).lazy
    folder =
      names.map { parent.appendingPathComponent($0) }.first {
        (try? FileManager.default.createDirectory(at: $0, withIntermediateDirectories: false)) != nil
      } ?? parent
  }

  /// Runs `body` for a test case, ends every process that `body` has started, and then runs `tearDown`. Of scopes
  /// within one another, the outermost waits for room and keeps the folder.
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
    // Failed expectations are issues, and not thrown.
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

  /// Keeps a process until the test case ends. One that is started after that is ended at once.
  func keep(_ process: ChildProcess) {
    let isOver = processes.withLock { processes in
      processes?.append(process)
      return processes == nil
    }
    if isOver { process.end() }
  }

  /// Ends those first that were started last: services before their servers.
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
