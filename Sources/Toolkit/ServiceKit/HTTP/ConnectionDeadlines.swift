internal import HTTPTypes
internal import Metrics
internal import NIOCore
internal import NIOHTTPTypes

/// Closes a connection whose client is too slow: in beginning a request, in sending the rest of it, or in taking the answer,
/// however steadily the bytes trickle. A stream of events may last.
final class ConnectionDeadlines: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart

  struct Times: Sendable {
    /// For a request's head to come whole, from the connection's beginning or the last answer's end.
    var idle: TimeAmount
    /// For the rest of a request.
    var request: TimeAmount
    /// From the end of a request to the end of its answer, as the client has taken it.
    var answer: TimeAmount

    var shortest: TimeAmount { min(idle, request, answer) }
  }

  private enum Phase: String { case idle, request, answer }

  private let times: Times
  private var phase = Phase.idle
  /// The answer is a stream of events, which has no end of its own.
  private var isStreaming = false
  /// Requests that have begun and are not answered yet; more than one where the client does not wait for answers.
  private var inHand = 0
  /// nil for none.
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
      // When the last bytes are with the kernel.
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

  /// Of a stream only that is bounded for which the client does not take what is sent.
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
    // One timer for the connection, set again when it goes off too early: requests cost it nothing. It is never further away
    // than the shortest of the times, so that none of them is found out too late.
    if alarm == nil { watch(until: min(deadline!, .now() + times.shortest), context) }
  }

  private func watch(until time: NIODeadline, _ context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    alarm = context.eventLoop.scheduleTask(deadline: time) {
      let (handler, context) = bound.value
      handler.alarm = nil
      guard let deadline = handler.deadline else {
        // Nothing to bound now; looked at again, since a request may follow.
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
