internal import EventLoop
public import Logging

/// Listens on a connection of its own, and again on a new one whenever it is lost.
///
/// Notifications are hints: after each (re)connection the handler is called once with nil, since what
/// was notified meanwhile is not known. On a standby or behind a transaction pooler LISTEN fails; the
/// listener then goes on trying, and its user polls.
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
