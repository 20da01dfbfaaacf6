internal import EventLoop
internal import EventSourcing
internal import Foundation
package import HTTPTypes
internal import Hummingbird
internal import JSON
internal import NIOCore
internal import Projections
internal import ServiceKit
internal import Synchronization

extension HTTPField.Name {
  /// The HTML standard, section 9.2.4.
  static let lastEventID = HTTPField.Name("Last-Event-ID")!
  package static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}

/// What changes, as Server-Sent Events.
package struct ChangeRoutes: Sendable {
  /// Then a client has to come again, with its token looked at anew.
  package static let longest = Duration.seconds(900)
  /// How long a process that has just started may take to learn where a follower begins.
  static let patience = Duration.seconds(10)

  let log: ChangeLog
  let responder: QueryResponder
  let limit: Int
  /// Without anything to say, an id that keeps the connection open, and is where the client goes on should it end.
  let heartbeat: Duration

  /// Follows all events, or those of the types that the request names.
  /// - Parameter known: every type that there is; nil where that is not known, and any name may be one.
  func all(_ request: Request, types known: [String]?) async throws -> Response {
    var parameters = QueryParameters(request)
    let types = try parameters.text("types") { text in
      guard let known else { return nil }
      let unknown = text.split(separator: ",", omittingEmptySubsequences: false).first {
        !known.contains(String($0))
      }
      return unknown.map { _ in
        "must be types of events with commas between them, of these: \(known.joined(separator: ", "))"
      }
    }
    try parameters.finish()
    let wanted = types.map { Set($0.split(separator: ",").map(String.init)) }
    return try await follow(request) { wanted?.contains($0.type) ?? true }
  }

  /// Follows one stream.
  /// - Parameters:
  ///   - model: the read model that shows it.
  ///   - missing: what is said where it has no row there.
  func one(_ stream: StreamID, in model: String, _ request: Request, missing: String) async throws -> Response {
    try QueryParameters(request).finish()
    // Found, and seen with the token, or not.
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
      // For nginx, which would keep messages back until there are many.
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
      let end = ContinuousClock.now + Self.longest
      var position = start
      try await writer.write(ByteBuffer(string: "retry: 1000\nid: \(start)-\(mark)\n\n"))
      var nextBeat = ContinuousClock.now + heartbeat
      // A client that goes makes room at once.
      try await request.body.consumeWithCancellationOnInboundClose { _ in
        while ContinuousClock.now < end, log.epoch == epoch, !Task.isCancelled {
          let (changes, last) = try await log.changes(after: position, until: nextBeat, wakeup)
          var messages = changes.filter(isWanted).flatMap(\.message)
          position = last
          // However much goes on that this one does not follow.
          if messages.isEmpty, ContinuousClock.now >= nextBeat { messages = Array("id: \(position)-\(mark)\n\n".utf8) }
          guard !messages.isEmpty else { continue }
          // Waits until the client has taken what came before; who does not for long is cut off (`ConnectionDeadlines`).
          try await writer.write(ByteBuffer(bytes: messages))
          nextBeat = .now + heartbeat
        }
      }
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: headers, body: body)
  }

  /// Who begins anew begins with what comes from now on.
  private func start(of request: Request) async throws -> (position: Position, historyID: UUID) {
    let deadline = ContinuousClock.now + Self.patience
    while log.tail == nil || responder.heads.historyID == nil, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(50))
    }
    guard let tail = log.tail, let historyID = responder.heads.historyID else {
      throw Problem.unavailable("It is not known yet what is to be seen; try again in a moment.")
    }
    guard let given = request.headers[.lastEventID], !given.isEmpty else { return (tail, historyID) }
    let parts = given.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let position = Int64(digits: parts[0]) else {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    guard parts[1] == ChangeLog.mark(of: historyID) else {
      throw Problem(
        .conflict, "token-of-another-history", title: "The id is of another history",
        detail: "The write store was restored after this message was sent. Leave Last-Event-ID out.")
    }
    // It may be ahead of what is to be seen here: then nothing is sent until that has come as far. But not of all there is.
    if position > tail.rawValue, try await log.head().rawValue < position {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    return (Position(position), historyID)
  }
}

/// Leaves once, whether the body is written or thrown away.
package final class Viewer: Sendable {
  private let goodbye: @Sendable () -> Void
  private let isIn = Atomic(true)

  package init(_ goodbye: @escaping @Sendable () -> Void) { self.goodbye = goodbye }
  deinit { leave() }
  package func leave() { if isIn.exchange(false, ordering: .relaxed) { goodbye() } }
}
