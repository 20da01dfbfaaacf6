internal import CSpawn
public import Foundation
import Synchronization

/// A process that a test starts, signals and waits for. It lives until its test case ends, even if nothing refers to
/// this object any more.
///
/// Foundation's `Process` takes the closing of a child's socket as its end, and then waits for the child on one thread
/// for all. A child that has closed its socket but still runs blocks that thread, and tests missed ends. This type asks
/// the kernel.
public final class ChildProcess: Sendable {
  public let pid: Int32
  /// The status of `waitpid`; nil while the process runs. While it is nil, the kernel does not reuse the process id.
  private let status = Mutex<Int32?>(nil)
  /// The writing end of the input pipe; nil without input.
  private let input: FileHandle?
  /// The file with standard output and standard error.
  public let log: URL
  private let lastSignal: Int32

  /// - Parameter lastSignal: The signal that ends the process when its test case ends.
  /// - Throws: `POSIXError` if the process cannot be started.
  public init(
    _ executable: URL, _ arguments: [String] = [], environment: [String: String] = [:], takesInput: Bool = false,
    lastSignal: Int32 = SIGKILL
  ) throws {
    self.lastSignal = lastSignal
    let scope = TestScope.current
    log = scope.folder.appendingPathComponent(TestEnvironment.uniqueName(executable.lastPathComponent) + ".log")
    try Data().write(to: log)
    let output = try FileHandle(forWritingTo: log)
    let pipe = takesInput ? Pipe() : nil
    input = pipe?.fileHandleForWriting
    pid = try Self.spawn(
      [executable.path] + arguments,
      environment: TestEnvironment.inherited.merging(environment) { $1 }.map { "\($0)=\($1)" },
      input: pipe?.fileHandleForReading ?? FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/null")), output: output
    )
    scope.keep(self)
  }

  /// Starts a process in its own process group, with only standard input, output and error open.
  private static func spawn(
    _ command: [String], environment: [String], input: FileHandle, output: FileHandle
  ) throws -> Int32 {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input.fileDescriptor, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output.fileDescriptor, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output.fileDescriptor, STDERR_FILENO)
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Swift's threads block all signals, and a child process would inherit that.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
    let lists = [command, environment].map { list in list.map { strdup($0) } + [nil] }
    defer { lists.joined().forEach { free($0) } }
    var pid: Int32 = 0
    let error = posix_spawn(&pid, command[0], &actions, &attributes, lists[0], lists[1])
    guard error == 0 else { throw POSIXError(POSIXErrorCode(rawValue: error) ?? .EINVAL) }
    return pid
  }

  /// The status of `waitpid`; nil while the process runs.
  private var ended: Int32? { status.withLock { Self.look(pid, &$0) } }

  private static func look(_ pid: Int32, _ status: inout Int32?) -> Int32? {
    guard status == nil else { return status }
    var new: Int32 = 0
    let seen = waitpid(pid, &new, WNOHANG)
    precondition(seen >= 0, "somebody else has waited for \(pid)")
    if seen == pid { status = new }
    return status
  }

  public var isRunning: Bool { ended == nil }
  public var output: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

  /// Sends signals unless the process has ended: another process may then have its id.
  private func signal(_ signals: [Int32], toItsGroup: Bool) {
    status.withLock { status in
      guard Self.look(pid, &status) == nil else { return }
      let target = toItsGroup && getpgid(pid) == pid ? -pid : pid
      for signal in signals { kill(target, signal) }
    }
  }

  public func signal(_ signal: Int32) { self.signal([signal], toItsGroup: false) }

  /// Ends the process and its process group. SIGCONT lets stopped processes receive the signal.
  func end(with signal: Int32? = nil) { self.signal([signal ?? lastSignal, SIGCONT], toItsGroup: true) }

  /// Writes a line to the process's standard input.
  public func say(_ line: String) { input?.write(Data((line + "\n").utf8)) }

  /// Stops the process and its descendants, and returns once none of their threads runs: SIGSTOP takes effect a little
  /// after it is sent.
  /// - Returns: The ids of all stopped processes, for `resume` or a signal.
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

  /// Continues processes that `suspend` has stopped.
  public static func resume(_ stopped: [Int32]) { stopped.forEach { kill($0, SIGCONT) } }

  /// The threads of a process, from Linux's `/proc`. A process that has ended counts as stopped, without children.
  private static func threads(of pid: Int32) -> [(isStopped: Bool, children: [Int32])] {
    let folder = "/proc/\(pid)/task"
    return (try? FileManager.default.contentsOfDirectory(atPath: folder))?.map { thread in
      func read(_ file: String) -> String {
        (try? String(contentsOfFile: "\(folder)/\(thread)/\(file)", encoding: .utf8)) ?? ""
      }
      // The file has "pid (name) state …", and the name may contain any character.
      let state = read("stat").split(separator: ")").last?.split(separator: " ").first.map(String.init)
      return (["T", "Z", "X", nil].contains(state), read("children").split(separator: " ").compactMap { Int32($0) })
    } ?? []
  }

  /// Waits until the process ends.
  /// - Returns: The exit status, or 128 plus the number of the signal that ended the process.
  @discardableResult
  public func wait(within bound: Duration = .seconds(120)) async throws -> Int32 {
    try await eventually("the process ends", within: bound) { !isRunning }
    let status = ended ?? 0
    // The lower seven bits are the signal, the eight bits above them the exit status.
    return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
  }
}

/// A server for one test, which the test may kill.
public final class PrivateServer: Sendable {
  public enum Kind: String, Sendable { case postgres, standby, rabbitmq, pgbouncer }

  private let kind: Kind
  private let folder: URL
  public let process: ChildProcess

  /// Starts a server, or restarts an earlier one with its port and data.
  /// - Parameter settings: Environment variables of `scripts/lib/serve`.
  public init(_ kind: Kind, inPlaceOf earlier: PrivateServer? = nil, settings: [String: String] = [:]) throws {
    self.kind = kind
    folder =
      earlier?.folder ?? TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName(kind.rawValue))
    process = try ChildProcess(
      TestEnvironment.root.appendingPathComponent("scripts/lib/serve"), [kind.rawValue],
      environment: ["COUNTERFLOW_LOCAL": folder.path, "HOME": folder.path].merging(settings) { $1 },
      // SIGQUIT also ends PostgreSQL at once, but lets it free its shared memory.
      lastSignal: [.postgres, .standby].contains(kind) ? SIGQUIT : SIGKILL)
  }

  /// Stops the server as an administrator would.
  public func stop() async throws {
    process.signal(kind == .rabbitmq ? SIGTERM : SIGINT)
    try await process.wait()
  }

  /// Saves the data of a stopped PostgreSQL server for `restore`.
  public func backUp() async throws { try await copy("postgres", to: "back-up") }

  /// Gives a stopped PostgreSQL server the data of the last `backUp`.
  public func restore() async throws {
    try FileManager.default.removeItem(at: folder.appendingPathComponent("postgres"))
    try await copy("back-up", to: "postgres")
  }

  /// Removes the data of a stopped PostgreSQL server, and returns the folder where it takes others from.
  public func removeData() throws -> URL {
    let data = folder.appendingPathComponent("postgres")
    try FileManager.default.removeItem(at: data)
    return data
  }

  private func copy(_ source: String, to target: String) async throws {
    let paths = [source, target].map { folder.appendingPathComponent($0).path }
    let copy = try ChildProcess(URL(fileURLWithPath: "/bin/cp"), ["-a"] + paths)
    guard try await copy.wait() == 0 else { throw NeverHappened(description: copy.output) }
  }

  /// The URL, as soon as the server's data and configuration exist.
  public func url() async throws -> String {
    let file = folder.appendingPathComponent("url")
    try await eventually("\(kind) has a URL", within: .seconds(120)) {
      guard process.isRunning else { throw NeverHappened(description: "\(kind) ended: \(process.output)") }
      return FileManager.default.fileExists(atPath: file.path)
    }
    return try String(contentsOf: file, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
