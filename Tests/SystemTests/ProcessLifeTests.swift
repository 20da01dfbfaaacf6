import Foundation
import TestSupport
import Testing

/// Guarantees that all other tests with processes rely on.
@Suite("Processes of a test")
struct ProcessLifeTests {
  /// A process that has ended may still be a zombie, which does not count as alive.
  private static func isAlive(_ pid: Int32) -> Bool {
    let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
    return stat?.split(separator: ")").last.map { !$0.hasPrefix(" Z") } ?? false
  }

  /// Runs `body` like the body of a test.
  private func asTest(_ body: @Sendable () async throws -> Void) async throws {
    let test = try #require(Test.current)
    try await RoomTrait.whenThereIsRoom.provideScope(for: test, testCase: Test.Case.current, performing: body)
  }

  /// Starts a process without keeping a reference to it.
  private func start(_ script: String) throws -> Int32 {
    try ChildProcess(URL(fileURLWithPath: "/bin/bash"), ["-c", script]).pid
  }

  @Test("A process lives until its test ends, even without references, and ends with it")
  func life() async throws {
    let notes = Notes()
    try await asTest {
      let pid = try start("sleep 1000 & echo $!; wait")
      await notes.add(pid)
      #expect(Self.isAlive(pid))
      // Its child belongs to the same test.
      try await eventually("it has started another") {
        let children = try String(contentsOfFile: "/proc/\(pid)/task/\(pid)/children", encoding: .utf8)
        guard let child = Int32(children.trimmingCharacters(in: .whitespaces)) else { return false }
        await notes.add(child)
        return true
      }
    }
    let all = await notes.pids
    #expect(all.count == 2)
    try await eventually("both are gone") { !all.contains(where: Self.isAlive) }
  }

  @Test("An exit is noticed while other processes started at the same time still run")
  func ends() async throws {
    try await asTest {
      try await withThrowingTaskGroup { group in
        for number in 0..<200 {
          group.addTask {
            let process = try ChildProcess(URL(fileURLWithPath: "/bin/sleep"), [number % 2 == 0 ? "0" : "1000"])
            if number % 2 == 0 { #expect(try await process.wait() == 0) }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("An exit is noticed while another process that closed all its files still runs")
  func closed() async throws {
    try await asTest {
      let other = try ChildProcess(
        URL(fileURLWithPath: "/usr/bin/python3"),
        ["-c", "import os, time; print('closed', flush=True); os.closerange(0, 4096); time.sleep(1000)"])
      try await eventually("it has closed all") { other.output.contains("closed") }
      let process = try ChildProcess(URL(fileURLWithPath: "/bin/bash"), ["-c", "exit 7"])
      #expect(try await process.wait() == 7)
      let killed = try ChildProcess(URL(fileURLWithPath: "/bin/sleep"), ["1000"])
      killed.signal(SIGTERM)
      #expect(try await killed.wait() == 128 + SIGTERM)
      #expect(other.isRunning)
    }
  }

  @Test("A request that is cancelled during its response blocks nothing", .needsServers, .freshDatabase())
  func cancelled() async throws {
    let system = System()
    try await system.migrate()
    let http = try await system.startReady(.commandService).http
    try await withThrowingTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<50 {
            let requests = Task { while !Task.isCancelled { _ = try await http.get("/healthz") } }
            // Cancels at any moment of a request.
            for _ in 0..<Int.random(in: 0..<200) { await Task.yield() }
            requests.cancel()
            _ = await requests.result
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await http.get("/healthz").status == 200)
  }

  @Test("The files of a passed test are removed, and those of a failed test stay")
  func files() async throws {
    let notes = Notes()
    try await asTest { await notes.note(TestEnvironment.scratch.path) }
    let passed = try #require(await notes.paths.first)
    #expect(!FileManager.default.fileExists(atPath: passed))
    await #expect(throws: NeverHappened.self) {
      try await asTest {
        await notes.note(TestEnvironment.scratch.path)
        throw NeverHappened(description: "on purpose")
      }
    }
    let failed = try #require(await notes.paths.last)
    #expect(FileManager.default.fileExists(atPath: failed))
    try FileManager.default.removeItem(atPath: failed)
  }

  private actor Notes {
    private(set) var pids: [Int32] = []
    private(set) var paths: [String] = []
    func add(_ pid: Int32) { pids.append(pid) }
    func note(_ path: String) { paths.append(path) }
  }
}
