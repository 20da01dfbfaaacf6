internal import Foundation
internal import Machine

/// Gets a secret from a program, such as the client of a key management service.
package enum ProgramOutput {
  /// The reason why there is no output. It never contains the output.
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// The most bytes that a program may write.
  private static let longest = 64 * 1024

  /// Runs a program without a shell, and returns what it writes to standard output, without the white space around it. Its
  /// standard error is this process's, so that its messages reach the log. It inherits the environment.
  ///
  /// The thread is blocked until the program ends: call this while a process starts.
  /// - Parameters:
  ///   - command: the absolute path of the program and its arguments, with white space between.
  ///   - limit: how long the program may take; then it is killed.
  /// - Throws: `Failure` if it cannot be started, takes longer, writes more than 64 KiB or no UTF-8, or ends with another
  ///   status than 0.
  package static func run(_ command: String, within limit: Duration) throws(Failure) -> String {
    let words = command.split(whereSeparator: \.isWhitespace).map(String.init)
    guard let path = words.first, path.hasPrefix("/") else {
      throw Failure(description: "the program needs an absolute path")
    }
    let deadline = Machine.now + limit
    let (program, output) = try start(words)
    defer { close(output) }
    do throws(Failure) {
      let bytes = try collect(output, of: path, until: deadline)
      let status = try wait(for: program, path, until: deadline)
      // What waitpid reports is the exit status in the second byte, and a signal in the first.
      guard status == 0 else {
        let end = status & 0x7F == 0 ? "status \(status >> 8 & 0xFF)" : "signal \(status & 0x7F)"
        throw Failure(description: "\(path) ended with \(end)")
      }
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw Failure(description: "\(path) wrote something that is not UTF-8")
      }
      return text.trimmingCharacters(in: .whitespacesAndNewlines)
    } catch {
      // Does nothing if it was waited for: then there is no such child.
      var status: Int32 = 0
      if waitpid(program, &status, WNOHANG) == 0 {
        kill(-program, SIGKILL)
        waitpid(program, &status, 0)
      }
      throw error
    }
  }

  private static func start(_ words: [String]) throws(Failure) -> (program: pid_t, output: Int32) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw Failure(description: "there is no pipe: \(String(cString: strerror(errno)))") }
    // Only standard output leads there.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[1]) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Swift's threads block all signals, and the program would inherit that. It gets a process group of its own, so that
    // what it has started is killed with it.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
    let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    let environment: [UnsafeMutablePointer<CChar>?] =
      ProcessInfo.processInfo.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + environment { free(text) } }
    var program: pid_t = 0
    let error = posix_spawn(&program, words[0], &actions, &attributes, arguments, environment)
    guard error == 0 else {
      close(ends[0])
      throw Failure(description: "\(words[0]) cannot be started: \(String(cString: strerror(error)))")
    }
    return (program, ends[0])
  }

  private static func collect(
    _ file: Int32, of path: String, until deadline: ContinuousClock.Instant
  ) throws(Failure) -> [UInt8] {
    var (bytes, chunk) = ([UInt8](), [UInt8](repeating: 0, count: 4096))
    while true {
      let left = (deadline - Machine.now) / .milliseconds(1)
      guard left > 0 else { throw late(path) }
      var wanted = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
      guard poll(&wanted, 1, Int32(left.rounded(.up))) > 0 else { continue }
      let count = read(file, &chunk, chunk.count)
      if count == 0 { return bytes }
      guard count > 0 || errno == EINTR else { throw Failure(description: "what \(path) wrote cannot be read") }
      bytes += chunk.prefix(max(count, 0))
      guard bytes.count <= longest else { throw Failure(description: "\(path) wrote more than \(longest) bytes") }
    }
  }

  /// It has closed its output, so that it usually ends at once.
  private static func wait(
    for program: pid_t, _ path: String, until deadline: ContinuousClock.Instant
  ) throws(Failure) -> Int32 {
    var status: Int32 = 0
    while waitpid(program, &status, WNOHANG) == 0 {
      guard Machine.now < deadline else { throw late(path) }
      _ = poll(nil, 0, 1)
    }
    return status
  }

  private static func late(_ path: String) -> Failure {
    Failure(description: "\(path) has not ended in time, and was killed")
  }
}
