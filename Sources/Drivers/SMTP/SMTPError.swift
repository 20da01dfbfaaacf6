public import Failures

/// An error of a mail, or between this process and the mail server. It never contains an address or a password.
public struct SMTPError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The closed set of reasons.
  public enum Code: Sendable, Equatable {
    /// The URL of the server is not valid.
    case invalidURL
    /// An address, a name, a subject, a key or a date cannot be in a mail.
    case invalidMail
    /// No connection could be made: nothing was sent.
    case connectionFailed
    /// The connection was lost. The server may have accepted the mail.
    case connectionLost
    /// The mail was not accepted within the time limit. The server may accept it nevertheless.
    case timeout
    /// The calling task was cancelled. The server may accept the mail nevertheless.
    case cancelled
    /// The server offers no STARTTLS, or its certificate is not trusted: neither the password nor the mail was sent.
    case insecure
    /// The server refuses this client: its connection, its login, or mail without a login; `reply` is the code of SMTP.
    case clientRefused(reply: Int)
    /// The server refuses the mail, its sender or its recipient; `reply` is the code of SMTP.
    case refused(reply: Int)
    /// libcurl fails in a way that is not known here.
    case unknown
  }

  public let code: Code
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// After `connectionLost`, `timeout` and `cancelled` the mail may have been sent nevertheless.
  public var failureKind: FailureKind {
    switch code {
    case .connectionFailed, .connectionLost, .timeout, .cancelled: .retry
    case .refused(let reply): Self.isTransient(reply) ? .retry : .refused
    case .clientRefused(let reply): Self.isTransient(reply) ? .retry : .programmingError
    case .invalidMail: .refused
    case .invalidURL, .insecure, .unknown: .programmingError
    }
  }

  /// RFC 5321, section 4.2.1: codes from 400 to 499 are transient.
  private static func isTransient(_ reply: Int) -> Bool { (400...499).contains(reply) }

  public var description: String { "\(code): \(message)" }
}
