public import Failures

/// An error between this process and the broker.
public struct RabbitMQError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The closed set of reasons.
  public enum Code: Sendable, Equatable {
    /// The URL is not `amqp://user:password@host:port/vhost`.
    case invalidURL
    /// No connection could be made, or the broker refused the login or the virtual host.
    case connectionFailed
    /// The connection was lost. Unconfirmed messages may or may not be in their queues.
    case connectionLost
    /// The broker refused an operation and closed the channel; `reply` is AMQP's code, such as 404 (not found), 405
    /// (locked by another connection) or 406 (declared before with other properties).
    case refused(reply: UInt16)
    /// No confirm or reply arrived within the time limit; the connection is closed.
    case timeout
    /// The broker has blocked publishing because it is short of memory or disk space: nothing was sent.
    case blocked
    /// More bytes are unconfirmed than the limit allows: nothing was sent.
    case tooMuchInFlight
    /// The broker cancelled the consumer, usually because its queue was deleted.
    case consumerCancelled
    /// The connection is closed: nothing was sent.
    case closed
  }

  public let code: Code
  public let message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  public var failureKind: FailureKind {
    switch code {
    case .connectionFailed, .connectionLost, .timeout, .blocked, .tooMuchInFlight, .consumerCancelled, .closed: .retry
    // 404 and 405: missing, or held by another connection, for now. 500 and above: an error of the broker.
    case .refused(let reply): reply == 404 || reply == 405 || reply >= 500 ? .retry : .programmingError
    case .invalidURL: .programmingError
    }
  }

  public var description: String { "\(code): \(message)" }
}
