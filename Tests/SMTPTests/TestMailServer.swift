import Foundation
import JSON
import SMTP
import TestSupport

/// A process of smtp_server.py.
struct TestMailServer {
  enum Mode: String { case starttls, smtps, plain, impatient, silent, unwilling }

  static let user = "shop:1"
  static let password = "p@ss/w:rd;é%"

  private let mode: Mode
  private let process: ChildProcess
  private let certificate: String
  let port: Int64

  init(_ mode: Mode) async throws {
    let authority = try await TestAuthority()
    let files = ["TLS_CERTIFICATE_FILE", "TLS_KEY_FILE"].compactMap { authority.serverSettings[$0] }
    let process = try Self.script([mode.rawValue] + (mode == .starttls || mode == .smtps ? files : []))
    try await eventually("the server listens") {
      guard process.isRunning else { throw NeverHappened(description: process.output) }
      return process.events.contains { $0["port"] != nil }
    }
    self.mode = mode
    self.process = process
    certificate = files[0]
    port = process.events.compactMap { $0["port"]?.integer }[0]
  }

  static func script(_ arguments: [String]) throws -> ChildProcess {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("smtp_server.py")
    return try ChildProcess(URL(fileURLWithPath: "/usr/bin/python3"), [script.path] + arguments)
  }

  /// Everything that happened, in order.
  var events: [JSON] { process.events }
  var mails: [JSON] { events.filter { $0["mail"] != nil } }

  /// - Parameter trusted: whether the address names the server's certificate.
  func address(
    user: String? = Self.user, password: String = Self.password, host: String = "127.0.0.1", trusted: Bool = true
  ) throws -> SMTPServer {
    let login = user.map { "\(Self.percentEncoded($0)):\(Self.percentEncoded(password))@" } ?? ""
    let scheme = mode == .smtps ? "smtps" : "smtp"
    return try SMTPServer(
      url: "\(scheme)://\(login)\(host):\(port)" + (trusted ? "?cacertfile=\(certificate)" : ""))
  }

  private static func percentEncoded(_ text: String) -> String {
    text.utf8.map { String(format: "%%%02x", $0) }.joined()
  }
}

extension ChildProcess {
  /// The whole lines of the log that are JSON. Python's warnings are not.
  var events: [JSON] {
    output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      .compactMap { try? JSON(parsing: Array($0.utf8)) }
  }
}
