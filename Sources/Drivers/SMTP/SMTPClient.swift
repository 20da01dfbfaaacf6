internal import EventLoop

/// Sends mails through one server, one after the other: an actor on its own thread. Waiting for the server takes no
/// thread from Swift's cooperative pool.
///
/// It connects for the first mail, keeps the connection for the next ones, and connects again when the server has
/// closed it. Cancelling the calling task ends the transfer within about a second. The connection ends when nobody refers
/// to the client any more.
public actor SMTPClient {
  /// How long a mail may take.
  public struct Limits: Sendable {
    /// For the connection, TLS and the login.
    public var connect: Duration
    /// For all of it, including the connection.
    public var send: Duration

    public init(connect: Duration = .seconds(10), send: Duration = .seconds(60)) {
      self.connect = connect
      self.send = send
    }
  }

  private let server: SMTPServer
  private let limits: Limits
  private let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  /// The handle of the last mail, with its connection; nil before the first mail and after an error.
  private var handle: CurlHandle?

  /// - Throws: `connectionFailed` if the process may open no more files or threads.
  public init(_ server: SMTPServer, limits: Limits = Limits()) throws(SMTPError) {
    let loop: EventLoop
    do { loop = try EventLoop() } catch { throw SMTPError(.connectionFailed, "\(error)") }
    self.server = server
    self.limits = limits
    self.loop = loop
  }

  deinit { loop.stop() }

  /// Sends a mail. When it returns, the server has accepted responsibility for the mail.
  ///
  /// Delivery is at least once: after `connectionLost`, `timeout` or `cancelled` the server may have accepted it.
  public func send(_ mail: Mail) throws(SMTPError) {
    guard !Task.isCancelled else { throw SMTPError(.cancelled, "the task was cancelled") }
    let handle = if let kept = handle.take() { kept } else { try CurlHandle.make(server, limits) }
    // If this throws, the handle and its connection end here.
    try handle.send(mail)
    self.handle = consume handle
  }
}
