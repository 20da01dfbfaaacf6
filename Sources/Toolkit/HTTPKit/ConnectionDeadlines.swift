internal import HTTPTypes
internal import Metrics
internal import NIOCore
internal import NIOHTTPTypes

/// Closes a connection whose client is too slow to begin a request, to send the rest of it, or to take the response,
/// even if bytes trickle steadily. A stream of events may last.
final class ConnectionDeadlines: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart

  struct Times: Sendable {
    /// For the whole head of a request, from the start of the connection or the end of the last response.
    var idle: TimeAmount
    /// For the rest of a request.
    var request: TimeAmount
    /// From the end of a request until the client has taken the whole response.
    var answer: TimeAmount

    var shortest: TimeAmount { min(idle, request, answer) }
  }

  private enum Phase: String { case idle, request, answer }

  private let times: Times
  private var phase = Phase.idle
  /// The response is a stream of events, which does not end by itself.
  private var isStreaming = false
  /// Requests that have begun and have no complete response yet. There can be several if the client does not wait for
  /// responses.
  private var inHand = 0
  /// nil if there is no deadline.
  private var deadline: NIODeadline?
  private var alarm: Scheduled<Void>?

  private static let connections = Meter(label: "http_connections")

  init(_ times: Times) { self.times = times }

  func handlerAdded(context: ChannelHandlerContext) {
    Self.connections.increment()
    enter(.idle, times.idle, context)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    Self.connections.decrement()
    alarm?.cancel()
  }

  func channelInactive(context: ChannelHandlerContext) {
    alarm?.cancel()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head:
      inHand += 1
      if inHand == 1 { enter(.request, times.request, context) }
    case .end: if inHand == 1 && phase == .request { enter(.answer, times.answer, context) }
    case .body: break
    }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head(let head):
      if head.headerFields[.contentType]?.hasPrefix("text/event-stream") == true {
        (isStreaming, deadline) = (true, nil)
      }
    case .body: break
    case .end:
      // The promise completes when the kernel has the last bytes.
      let promise = promise ?? context.eventLoop.makePromise()
      let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
      promise.futureResult.whenComplete { _ in
        let (handler, context) = bound.value
        handler.inHand = max(0, handler.inHand - 1)
        if handler.inHand == 0 {
          handler.enter(.idle, handler.times.idle, context)
        } else {
          handler.enter(.answer, handler.times.answer, context)
        }
      }
      return context.write(data, promise: promise)
    }
    context.write(data, promise: promise)
  }

  /// A stream of events has a deadline only while the client does not take the data.
  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if isStreaming {
      deadline = context.channel.isWritable ? nil : .now() + times.answer
      if let deadline {
        alarm?.cancel()
        watch(until: deadline, context)
      }
    }
    context.fireChannelWritabilityChanged()
  }

  private func enter(_ phase: Phase, _ time: TimeAmount, _ context: ChannelHandlerContext) {
    self.phase = phase
    isStreaming = false
    deadline = .now() + time
    // A connection has one timer, set again if it fires too early, so requests cost nothing. It never waits longer than
    // the shortest of the times, so no deadline is noticed too late.
    if alarm == nil { watch(until: min(deadline!, .now() + times.shortest), context) }
  }

  private func watch(until time: NIODeadline, _ context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    alarm = context.eventLoop.scheduleTask(deadline: time) {
      let (handler, context) = bound.value
      handler.alarm = nil
      guard let deadline = handler.deadline else {
        // No deadline now; look again later, since a request may follow.
        return handler.watch(until: .now() + handler.times.shortest, context)
      }
      guard deadline <= .now() else {
        return handler.watch(until: min(deadline, .now() + handler.times.shortest), context)
      }
      Counter(label: "http_slow_clients_total", dimensions: [("in", handler.phase.rawValue)]).increment()
      context.close(promise: nil)
    }
  }
}
