internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore
internal import NIOHTTP1

/// Closes a connection after its last response. A response is the last if it or its request says `Connection: close`,
/// or if the request is HTTP/1.0, whose rules this handler applies. If the input is not HTTP, the handler turns
/// Hummingbird's empty response into a problem.
///
/// `HTTPServerPipelineHandler`, which is closer to the network, passes on one request at a time.
final class ConnectionEnd: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  /// After the last response, input is read and dropped for this long. Closing a connection with unread input resets
  /// it, and the client can then lose the response.
  private static let linger = TimeAmount.seconds(2)

  private var failure: HTTPParserError?
  /// Whether the current request, or else the last one, is HTTP/1.0.
  private var isHTTP10 = false
  /// Whether the response to it is the last.
  private var isLast = false
  /// The last response is written. Later input is neither executed nor answered.
  private var hasEnded = false
  private var alarm: Scheduled<Void>?

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard !hasEnded else { return }
    if let error = error as? HTTPParserError {
      failure = failure ?? error
      // The start of the next request is unknown.
      isLast = true
    }
    context.fireErrorCaught(error)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !hasEnded else { return }
    guard case .head(let head) = unwrapInboundIn(data) else { return context.fireChannelRead(data) }
    isHTTP10 = (head.version.major, head.version.minor) < (1, 1)
    isLast = isHTTP10 || !head.isKeepAlive
    context.fireChannelRead(isHTTP10 ? wrapInboundOut(.head(Self.asHTTP11(head))) : data)
  }

  func channelInactive(context: ChannelHandlerContext) {
    alarm?.cancel()
    context.fireChannelInactive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { alarm?.cancel() }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard !hasEnded else {
      promise?.fail(ChannelError.outputClosed)
      return
    }
    switch unwrapOutboundIn(data) {
    case .head(let head) where head.status == .continue: context.write(data, promise: promise)
    case .head(let head):
      if let failure, head.status == .badRequest, head.headers.first(name: "Content-Length") == "0" {
        return write(Self.problem(failure), context, promise)
      }
      isLast = isLast || !head.isKeepAlive
      context.write(isLast ? wrapOutboundOut(.head(asLast(head))) : data, promise: promise)
    case .body: context.write(data, promise: promise)
    case .end:
      guard isLast else { return context.write(data, promise: promise) }
      // Set before the write: the handler below passes on the next request as soon as the response is written.
      hasEnded = true
      let promise = promise ?? context.eventLoop.makePromise()
      let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      promise.futureResult.whenComplete { _ in bound.value.0.end(bound.value.1) }
      context.write(data, promise: promise)
    }
  }

  private func end(_ context: ChannelHandlerContext) {
    context.close(mode: .output, promise: nil)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    alarm = context.eventLoop.scheduleTask(in: Self.linger) { bound.value.close(promise: nil) }
  }

  /// HTTP/1.0 need not name a host (RFC 9112, sections 3.2 and 3.3), and its Expect is ignored (RFC 9110, section
  /// 10.1.1).
  private static func asHTTP11(_ head: HTTPRequestHead) -> HTTPRequestHead {
    var head = head
    head.headers.remove(name: "Expect")
    if !head.headers.contains(name: "Host") { head.headers.add(name: "Host", value: "localhost") }
    return head
  }

  private func asLast(_ head: HTTPResponseHead) -> HTTPResponseHead {
    var head = head
    head.headers.replaceOrAdd(name: "Connection", value: "close")
    if isHTTP10 && !head.headers.contains(name: "Content-Length") {
      // The body ends with the connection: HTTP/1.0 has no chunks.
      head.headers.remove(name: "Transfer-Encoding")
      head.version = .http1_0
    }
    return head
  }

  private func write(_ problem: Problem, _ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
    let body = problem.json
    var fields = HTTPHeaders(problem.headers.map { ($0.name.rawName, $0.value) })
    fields.add(name: "Content-Type", value: "application/problem+json")
    fields.add(name: "Content-Length", value: String(body.count))
    let status = HTTPResponseStatus(statusCode: problem.status.code)
    context.write(
      wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: fields))), promise: nil)
    context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: promise)
  }

  private static func problem(_ failure: HTTPParserError) -> Problem {
    guard failure == .headerOverflow else { return .malformedRequest("It is no request of HTTP/1.1.") }
    let limits = HTTPServing.headerLimits
    return Problem(
      .requestHeaderFieldsTooLarge, "header-fields-too-large", title: "The header fields are too large",
      detail: "A field may have \(limits.maxHeaderFieldSize) bytes, all of them \(limits.maxHeaderListSize) and be "
        + "\(limits.maxHeaderFieldCount) fields; send less."
    ).closingConnection
  }
}
