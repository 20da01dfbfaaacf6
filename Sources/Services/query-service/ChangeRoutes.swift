import Commerce
import CommerceReadModels
import EventLoop
import EventSourcing
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Projections
import ServiceKit
import Synchronization

extension HTTPField.Name {
  /// The HTML standard, section 9.2.4.
  static let lastEventID = HTTPField.Name("Last-Event-ID")!
  static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}

/// What changes, as Server-Sent Events.
struct ChangeRoutes {
  /// Then a client has to come again, with its token looked at anew.
  static let longest = Duration.seconds(900)
  /// How long a process that has just started may take to learn where a follower begins.
  static let patience = Duration.seconds(10)

  let log: ChangeLog
  let answering: Answering
  let limit: Int
  /// Without anything to say, an id that keeps the connection open, and is where the client goes on should it end.
  let heartbeat: Duration

  func add(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/changes") { request, _ in
      var parameters = Parameters(request)
      let types = try parameters.text("types") { text in
        let unknown = text.split(separator: ",", omittingEmptySubsequences: false).first {
          !commerceEventTypes.contains(String($0))
        }
        return unknown.map { _ in
          "must be types of events with commas between them, of these: \(commerceEventTypes.joined(separator: ", "))"
        }
      }
      try parameters.finish()
      let wanted = types.map { Set($0.split(separator: ",").map(String.init)) }
      return try await follow(request) { wanted?.contains($0.type) ?? true }
    }
    router.get("/v1/orders/{id}/changes") { request, context in
      let id = try context.pathParameter("id")
      try Parameters(request).finish()
      let stream = Identifier.problem(id) == nil ? Order.stream(id) : nil
      let missing = "There is no order \(id), or it has not come here yet."
      guard let stream else { throw Problem.notFound(missing) }
      // Found, and seen with the token, or not.
      _ = try await answering.answer(request, [Reads("orders", stream)], missing: missing, isShared: false) { models in
        try await models.order.value(id).map { Answer(bytes: $0.document, version: $0.version) }
      }
      return try await follow(request) { $0.stream == stream }
    }
  }

  private func follow(_ request: Request, _ isWanted: @escaping @Sendable (Change) -> Bool) async throws -> Response {
    let epoch = log.epoch
    let (start, incarnation) = try await start(of: request)
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
    let mark = ChangeLog.mark(of: incarnation)
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
  private func start(of request: Request) async throws -> (position: Position, incarnation: UUID) {
    let deadline = ContinuousClock.now + Self.patience
    while log.tail == nil || answering.heads.incarnation == nil, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(50))
    }
    guard let tail = log.tail, let incarnation = answering.heads.incarnation else {
      throw Problem.unavailable("It is not known yet what is to be seen; try again in a moment.")
    }
    guard let given = request.headers[.lastEventID], !given.isEmpty else { return (tail, incarnation) }
    let parts = given.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let position = Int64(digits: parts[0]) else {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    guard parts[1] == ChangeLog.mark(of: incarnation) else {
      throw Problem(
        .conflict, "token-of-another-history", title: "The id is of another history",
        detail: "The write store was restored after this message was sent. Leave Last-Event-ID out.")
    }
    // It may be ahead of what is to be seen here: then nothing is sent until that has come as far. But not of all there is.
    if position > tail.rawValue, try await log.head().rawValue < position {
      throw Problem.invalidHeader("Last-Event-ID", "must be the id of a message that was sent")
    }
    return (Position(position), incarnation)
  }
}

/// Leaves once, whether the body is written or thrown away.
final class Viewer: Sendable {
  private let goodbye: @Sendable () -> Void
  private let isIn = Atomic(true)

  init(_ goodbye: @escaping @Sendable () -> Void) { self.goodbye = goodbye }
  deinit { leave() }
  func leave() { if isIn.exchange(false, ordering: .relaxed) { goodbye() } }
}
