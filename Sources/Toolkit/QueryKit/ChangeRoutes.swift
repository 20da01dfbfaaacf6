internal import EventLoop
internal import EventSourcing
internal import Foundation
internal import HTTPKit
package import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Machine
internal import NIOCore
internal import Projections
internal import Synchronization

extension HTTPField.Name {
  /// Defined in the HTML standard, section 9.2.4.
  static let lastEventID = HTTPField.Name("Last-Event-ID")!
  package static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}

/// Sends changes as Server-Sent Events.
package struct ChangeRoutes: Sendable {
  /// The longest time of one response. Then the client must reconnect, and its access token is checked again.
  package static let longest = Duration.seconds(900)
  /// How long a process that has just started may take to learn where a follower starts.
  static let patience = Duration.seconds(10)

  let log: ChangeLog
  let responder: QueryResponder
  let limit: Int
  /// The longest time without a message. Then the client gets an id: this keeps the connection open, and after a
  /// disconnect the client continues from there.
  let heartbeat: Duration

  /// Follows all events, or those of the types that the request names.
  /// - Parameter known: all events.
  func all(_ request: Request, _ known: EventNames) async throws -> Response {
    var parameters = QueryParameters(request)
    let types = try parameters.text("types") { text in
      let unknown = text.split(separator: ",", omittingEmptySubsequences: false).first {
        !known.contains(String($0))
      }
      guard let unknown else { return nil }
      let rule = "must be types of events with commas between them"
      return known.all.map { "\(rule), of these: \($0.joined(separator: ", "))" } ?? "\(rule); '\(unknown)' is none"
    }
    try parameters.finish()
    let wanted = types.map { Set($0.split(separator: ",").map(String.init)) }
    return try await follow(request) { wanted?.contains($0.type) ?? true }
  }

  /// Follows one stream.
  /// - Parameters:
  ///   - model: the read model that has a row for the stream.
  ///   - missing: the detail of the problem if there is no such row.
  func one(_ stream: StreamID, in model: String, _ request: Request, missing: String) async throws -> Response {
    try QueryParameters(request).finish()
    // Checks that the row is there, and that it shows what the consistency token names.
    _ = try await responder.answer(request, [Reads(model, stream)], missing: missing, isShared: false) { access in
      try await access.row(model, String(stream.id)).map { QueryResult($0) }
    }
    return try await follow(request) { $0.stream == stream }
  }

  private func follow(_ request: Request, _ isWanted: @escaping @Sendable (Change) -> Bool) async throws -> Response {
    let epoch = log.epoch
    let (start, historyID) = try await start(of: request)
    let headers: HTTPFields = [
      .contentType: "text/event-stream", .cacheControl: "no-store", .readPosition: String(start.rawValue),
      // Keeps nginx from buffering the messages.
      .accelBuffering: "no",
    ]
    guard request.method != .head else { return Response(status: .ok, headers: headers) }
    guard let wakeup = log.enter(atMost: limit) else {
      throw Problem.unavailable(
        "So many follow already; ask now and then instead, or try again.", retryAfter: 10, isLogged: false)
    }
    let entered = Viewer { [log] in log.leave(wakeup) }
    let mark = ChangeLog.mark(of: historyID)
    let body = ResponseBody { [log, heartbeat] writer in
      defer { entered.leave() }
      let end = Machine.now + Self.longest
      var position = start
      try await writer.write(ByteBuffer(string: "retry: 1000\nid: \(start)-\(mark)\n\n"))
      var nextBeat = Machine.now + heartbeat
      // A client that disconnects makes room at once.
      try await request.body.consumeWithCancellationOnInboundClose { _ in
        while Machine.now < end, log.epoch == epoch, !Task.isCancelled {
          let (changes, last) = try await log.changes(after: position, until: nextBeat, wakeup)
          var messages = changes.filter(isWanted).flatMap(\.message)
          position = last
          // Due even if many events arrive that this client does not follow.
          if messages.isEmpty, Machine.now >= nextBeat { messages = Array("id: \(position)-\(mark)\n\n".utf8) }
          guard !messages.isEmpty else { continue }
          // Waits until the client has read the earlier messages. `ConnectionDeadlines` disconnects a stuck client.
          try await writer.write(ByteBuffer(bytes: messages))
          nextBeat = Machine.now + heartbeat
        }
      }
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: headers, body: body)
  }

  /// Returns where a client starts: after its Last-Event-ID, or with the events from now on.
  private func start(of request: Request) async throws -> (position: Position, historyID: UUID) {
    let deadline = Machine.now + Self.patience
    var known = log.start
    while known == nil, Machine.now < deadline {
      try await Machine.sleep(for: .milliseconds(50))
      known = log.start
    }
    guard let (tail, historyID) = known else {
      throw Problem.unavailable("The progress of the read store is not known yet; try again in a moment.")
    }
    guard let given = request.headers[.lastEventID], !given.isEmpty else { return (tail, historyID) }
    let parts = given.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let position = Int64(digits: parts[0]) else {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    guard parts[1] == ChangeLog.mark(of: historyID) else {
      throw Problem(
        .conflict, "token-of-another-history", title: "The id belongs to another history",
        detail: "The write store was restored after this message was sent. Leave Last-Event-ID out.")
    }
    // The id may be ahead of what this replica shows: then the client waits. It cannot be ahead of the write store.
    if position > tail.rawValue, try await log.head().rawValue < position {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    if position < tail.rawValue { try await log.expectStored(after: Position(position)) }
    return (Position(position), historyID)
  }
}

/// Calls `goodbye` once, whether the body is written or discarded.
package final class Viewer: Sendable {
  private let goodbye: @Sendable () -> Void
  private let isIn = Atomic(true)

  package init(_ goodbye: @escaping @Sendable () -> Void) { self.goodbye = goodbye }
  deinit { leave() }
  package func leave() { if isIn.exchange(false, ordering: .relaxed) { goodbye() } }
}
