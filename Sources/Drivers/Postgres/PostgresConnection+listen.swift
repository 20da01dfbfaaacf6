internal import CLibPQ
internal import EventLoop

/// A notification that NOTIFY sent.
public struct PostgresNotification: Sendable, Equatable {
  public let channel: String
  public let payload: String
}

extension PostgresConnection {
  /// How often an idle listening connection is checked even if nothing arrives.
  static let listenInterval = Duration.seconds(5)

  /// LISTENs to `channels`. The stream buffers the newest `limit` notifications, and ends with the connection. Later
  /// notifications are lost, so check for changes after reconnecting.
  public func notifications(
    on channels: [String], limit: Int = 64
  ) throws(PostgresError) -> AsyncStream<PostgresNotification> {
    let (stream, sink) = AsyncStream.makeStream(
      of: PostgresNotification.self, bufferingPolicy: .bufferingNewest(limit))
    self.sink?.finish()
    self.sink = sink
    for channel in channels {
      try execute("listen \"\(channel.replacing("\"", with: "\"\""))\"")
    }
    loop.watch(PQsocket(try raw), every: Self.listenInterval) { [weak self] in
      self?.assumeIsolated { $0.receive() }
    }
    receive()
    return stream
  }

  private func receive() {
    guard let raw = try? raw else { return }
    guard PQconsumeInput(raw) == 1 else {
      _ = lose()
      return
    }
    while let notification = PQnotifies(raw) {
      defer { PQfreemem(notification) }
      let payload = notification.pointee.extra.map { String(cString: $0) } ?? ""
      sink?.yield(PostgresNotification(channel: String(cString: notification.pointee.relname), payload: payload))
    }
  }
}
