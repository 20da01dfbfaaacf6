internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTPTypes

/// Closes a connection behind an answer that says `Connection: close`, and makes a problem of the empty answer that
/// Hummingbird gives to what is no HTTP.
final class ConnectionEnd: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  /// So long what still comes is read and thrown away. A connection that is closed with something unread is reset, which can
  /// take the answer from the client.
  private static let linger = TimeAmount.seconds(2)

  private var failure: HTTPParserError?
  /// The answer that is being written is the last.
  private var isLast = false
  private var hasEnded = false
  private var alarm: Scheduled<Void>?

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    failure = failure ?? (error as? HTTPParserError)
    context.fireErrorCaught(error)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if !hasEnded { context.fireChannelRead(data) }
  }

  func channelInactive(context: ChannelHandlerContext) {
    alarm?.cancel()
    context.fireChannelInactive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { alarm?.cancel() }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head(let head):
      isLast = head.headerFields[.connection]?.lowercased() == "close"
      if let failure, head.status == .badRequest, head.headerFields[.contentLength] == "0" {
        return write(Self.problem(failure), context, promise)
      }
      context.write(data, promise: promise)
    case .body: context.write(data, promise: promise)
    case .end:
      guard isLast else { return context.write(data, promise: promise) }
      let promise = promise ?? context.eventLoop.makePromise()
      let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      promise.futureResult.whenComplete { _ in bound.value.0.end(bound.value.1) }
      context.write(data, promise: promise)
    }
  }

  private func end(_ context: ChannelHandlerContext) {
    guard !hasEnded else { return }
    hasEnded = true
    context.close(mode: .output, promise: nil)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    alarm = context.eventLoop.scheduleTask(in: Self.linger) { bound.value.close(promise: nil) }
  }

  private func write(_ problem: Problem, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
    let body = problem.json
    var head = HTTPResponse(status: problem.status, headerFields: problem.headers)
    head.headerFields[.contentType] = "application/problem+json"
    head.headerFields[.contentLength] = String(body.count)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.write(wrapOutboundOut(.body(ByteBuffer(bytes: body))), promise: promise)
  }

  private static func problem(_ failure: HTTPParserError) -> Problem {
    guard failure == .headerOverflow else { return .malformedRequest("It is no request of HTTP/1.1.") }
    let limits = ServiceMain.headerLimits
    return Problem(
      .requestHeaderFieldsTooLarge, "header-fields-too-large", title: "The header fields are too large",
      detail: "A field may have \(limits.maxHeaderFieldSize) bytes, all of them \(limits.maxHeaderListSize) and be "
        + "\(limits.maxHeaderFieldCount) fields; send less."
    ).closingConnection
  }
}
