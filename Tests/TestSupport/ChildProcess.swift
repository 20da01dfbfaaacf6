public import Foundation
import Synchronization

/// A process that a test starts, signals and waits for. It ends with its test case, and not before: letting go of this
/// object does nothing.
public final class ChildProcess: @unchecked Sendable {
  // `Process` is not Sendable; after `init` only its thread-safe parts are used: pid and status.
  private let process = Process()
  /// nil where nobody talks to it.
  private let input: Pipe?
  /// Standard output and error, in one file.
  public let log: URL
  private let lastSignal: Int32
  private static let starting = Mutex(())

  /// - Parameter lastSignal: ends it with its test.
  public init(
    _ executable: URL, _ arguments: [String] = [], environment: [String: String] = [:], takesInput: Bool = false,
    lastSignal: Int32 = SIGKILL
  ) throws {
    self.lastSignal = lastSignal
    input = takesInput ? Pipe() : nil
    let scope = TestScope.current
    log = scope.folder.appendingPathComponent(TestEnvironment.uniqueName(executable.lastPathComponent) + ".log")
    try Data().write(to: log)
    let output = try FileHandle(forWritingTo: log)
    process.executableURL = executable
    process.arguments = arguments
    process.environment = TestEnvironment.inherited.merging(environment) { $1 }
    if let input { process.standardInput = input } else { process.standardInput = FileHandle.nullDevice }
    process.standardOutput = output
    process.standardError = output
    // Foundation sees that a process has ended when a socket closes that only the process has. One that is started at the
    // same moment can get it too, and would have to end first: one at a time.
    try Self.starting.withLock { _ in try process.run() }
    scope.keep(self)
  }

  /// Ends it, and what it has started in its process group.
  func end(with signal: Int32? = nil) {
    guard process.isRunning else { return }
    let target = getpgid(pid) == pid ? -pid : pid
    kill(target, signal ?? lastSignal)
    // One that is stopped hears of it.
    kill(target, SIGCONT)
  }

  /// Writes a line to its standard input.
  public func say(_ line: String) { input?.fileHandleForWriting.write(Data((line + "\n").utf8)) }

  public var isRunning: Bool { process.isRunning }
  public var pid: Int32 { process.processIdentifier }
  public var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

  public func signal(_ signal: Int32) { kill(process.processIdentifier, signal) }

  /// Stops it, and what it has started, and returns once none of their threads runs: SIGSTOP is sent at once, but
  /// takes effect a little later.
  /// - Returns: the ids of all that were stopped, for `resume` or a signal.
  @discardableResult
  public func suspend() async throws -> [Int32] {
    var stopped: [Int32] = []
    var next = [pid]
    while !next.isEmpty {
      for pid in next {
        kill(pid, SIGSTOP)
        try await eventually("process \(pid) has stopped") { Self.threads(of: pid).allSatisfy(\.isStopped) }
      }
      stopped += next
      next = next.flatMap { Self.threads(of: $0).flatMap(\.children) }
    }
    return stopped
  }

  /// Lets those go on that `suspend` has stopped.
  public static func resume(_ stopped: [Int32]) { stopped.forEach { kill($0, SIGCONT) } }

  /// From Linux' `proc`. What has ended counts as stopped, and has no children.
  private static func threads(of pid: Int32) -> [(isStopped: Bool, children: [Int32])] {
    let folder = "/proc/\(pid)/task"
    return (try? FileManager.default.contentsOfDirectory(atPath: folder))?.map { thread in
      func read(_ file: String) -> String {
        (try? String(contentsOfFile: "\(folder)/\(thread)/\(file)", encoding: .utf8)) ?? ""
      }
      // "pid (name) state …", with any character in the name.
      let state = read("stat").split(separator: ")").last?.split(separator: " ").first.map(String.init)
      return (["T", "Z", "X", nil].contains(state), read("children").split(separator: " ").compactMap { Int32($0) })
    } ?? []
  }

  /// Waits for the end.
  /// - Returns: the exit status, or 128 and the signal that ended it.
  @discardableResult
  public func wait(within bound: Duration = .seconds(120)) async throws -> Int32 {
    try await eventually("the process ends", within: bound) { !process.isRunning }
    return process.terminationStatus + (process.terminationReason == .uncaughtSignal ? 128 : 0)
  }
}

/// A server of a test's own, to be killed.
public final class PrivateServer: Sendable {
  public enum Kind: String, Sendable { case postgres, standby, rabbitmq }

  private let kind: Kind
  private let folder: URL
  public let process: ChildProcess

  /// Starts the server, or starts it again in an earlier one's place, with its port and data.
  /// - Parameter settings: environment variables of `scripts/lib/serve`.
  public init(_ kind: Kind, inPlaceOf earlier: PrivateServer? = nil, settings: [String: String] = [:]) throws {
    self.kind = kind
    folder =
      earlier?.folder ?? TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName(kind.rawValue))
    process = try ChildProcess(
      TestEnvironment.root.appendingPathComponent("scripts/lib/serve"), [kind.rawValue],
      environment: ["COUNTERFLOW_LOCAL": folder.path, "HOME": folder.path].merging(settings) { $1 },
      // At once as well, but PostgreSQL gives its shared memory back.
      lastSignal: kind == .rabbitmq ? SIGKILL : SIGQUIT)
  }

  /// Stops it as an administrator would.
  public func stop() async throws {
    process.signal(kind == .rabbitmq ? SIGTERM : SIGINT)
    try await process.wait()
  }

  /// Keeps what a PostgreSQL server that is stopped has stored, for `restore`.
  public func backUp() async throws { try await copy("postgres", to: "back-up") }

  /// Gives a PostgreSQL server that is stopped what it had stored at `backUp`.
  public func restore() async throws {
    try FileManager.default.removeItem(at: folder.appendingPathComponent("postgres"))
    try await copy("back-up", to: "postgres")
  }

  private func copy(_ source: String, to target: String) async throws {
    let paths = [source, target].map { folder.appendingPathComponent($0).path }
    let copy = try ChildProcess(URL(fileURLWithPath: "/bin/cp"), ["-a"] + paths)
    guard try await copy.wait() == 0 else { throw NeverHappened(description: copy.output) }
  }

  /// The URL, once the server has been made.
  public func url() async throws -> String {
    let file = folder.appendingPathComponent("url")
    try await eventually("\(kind) has a URL", within: .seconds(120)) {
      guard process.isRunning else { throw NeverHappened(description: "\(kind) ended: \(process.output)") }
      return FileManager.default.fileExists(atPath: file.path)
    }
    return try String(contentsOf: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
