internal import Foundation
public import JSON

/// A process of smtp_server.py.
public struct TestMailServer: Sendable {
  public enum Mode: String, Sendable { case starttls, smtps, plain, impatient, silent, unwilling }

  public static let user = "shop:1"
  public static let password = "p@ss/w:rd;é%"

  private let mode: Mode
  private let process: ChildProcess
  private let certificate: String
  public let port: Int64

  /// - Parameter port: 0 for any free one.
  public init(_ mode: Mode, port: Int64 = 0) async throws {
    let authority = try await TestAuthority()
    let files = ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"].compactMap { authority.serverSettings[$0] }
    let process = try Self.script(
      [mode.rawValue, String(port)] + (mode == .starttls || mode == .smtps ? files : []))
    try await eventually("the server listens") {
      guard process.isRunning else { throw NeverHappened(description: process.output) }
      return process.events.contains { $0["port"] != nil }
    }
    self.mode = mode
    self.process = process
    certificate = files[0]
    self.port = process.events.compactMap { $0["port"]?.integer }[0]
  }

  public static func script(_ arguments: [String]) throws -> ChildProcess {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("smtp_server.py")
    return try ChildProcess(URL(fileURLWithPath: "/usr/bin/python3"), [script.path] + arguments)
  }

  /// Ends the server at once, as a crash does.
  public func stop() async throws {
    process.signal(SIGKILL)
    try await process.wait()
  }

  /// Everything that happened, in order.
  public var events: [JSON] { process.events }
  public var mails: [JSON] { events.filter { $0["mail"] != nil } }

  /// - Parameter trusted: whether the URL names the server's certificate.
  public func url(
    user: String? = Self.user, password: String = Self.password, host: String = "127.0.0.1", trusted: Bool = true
  ) -> String {
    let login = user.map { "\(Self.percentEncoded($0)):\(Self.percentEncoded(password))@" } ?? ""
    let scheme = mode == .smtps ? "smtps" : "smtp"
    return "\(scheme)://\(login)\(host):\(port)" + (trusted ? "?cacertfile=\(certificate)" : "")
  }

  private static func percentEncoded(_ text: String) -> String {
    text.utf8.map { String(format: "%%%02x", $0) }.joined()
  }
}

extension ChildProcess {
  /// The whole lines of the log that are JSON. Python's warnings are not.
  public var events: [JSON] {
    output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      .compactMap { try? JSON(parsing: Array($0.utf8)) }
  }
}
