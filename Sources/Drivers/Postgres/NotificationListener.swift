internal import EventLoop
public import Logging

/// Listens on its own connection, and reconnects whenever the connection is lost.
///
/// Notifications are hints. After each connect the handler is called once with nil, because notifications may have been
/// missed. On a standby LISTEN fails: the listener keeps trying, and its user polls.
public struct NotificationListener: Sendable {
  let configuration: PostgresConfiguration
  let channels: [String]
  let logger: Logger

  public init(_ configuration: PostgresConfiguration, channels: [String], logger: Logger) {
    self.configuration = configuration
    self.channels = channels
    self.logger = logger
  }

  /// Runs until the task is cancelled.
  public func run(_ handler: @Sendable (PostgresNotification?) -> Void) async {
    var backoff = Backoff()
    while !Task.isCancelled {
      do {
        let connection = try await PostgresConnection.connect(configuration)
        let notifications = try await connection.notifications(on: channels)
        backoff.reset()
        handler(nil)
        for await notification in notifications { handler(notification) }
        await connection.close()
      } catch {
        logger.warning("cannot listen; trying again", metadata: ["error": "\(error)"])
      }
      try? await Task.sleep(for: backoff.next())
    }
  }
}
