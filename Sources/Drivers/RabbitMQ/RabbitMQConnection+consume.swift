internal import CRabbitMQ

extension RabbitMQConnection {
  /// Consumes from `queue`. At most `prefetch` deliveries are unacknowledged, which also bounds the stream's buffer. If
  /// the connection is lost or the queue is deleted, the stream ends with an error. The broker then delivers
  /// unacknowledged messages again, possibly after newer ones.
  public func consume(
    queue: String, prefetch: UInt16, isExclusive: Bool = false, arguments: [String: FieldValue] = [:]
  ) throws(RabbitMQError) -> AsyncThrowingStream<Delivery, any Error> {
    precondition(prefetch > 0, "a prefetch of 0 has no bound")
    _ = try call { amqp_basic_qos($0, RabbitMQHandle.channel, 0, prefetch, 0) }
    var arena = Arena()
    let tag = "consumer-\(consumers.count + 1)"
    let (name, consumer, table) = (arena.bytes(queue), arena.bytes(tag), arena.table(arguments))
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: Delivery.self, throwing: (any Error).self)
    // Registered before the call: deliveries may arrive with the reply.
    consumers[tag] = continuation
    _ = try call {
      amqp_basic_consume($0, RabbitMQHandle.channel, name, consumer, 0, 0, isExclusive ? 1 : 0, table)
    }
    return stream
  }

  /// Acknowledges a delivery, or all deliveries up to it.
  public func acknowledge(_ deliveryTag: UInt64, multiple: Bool = false) throws(RabbitMQError) {
    try send { amqp_basic_ack($0, RabbitMQHandle.channel, deliveryTag, multiple ? 1 : 0) }
  }

  /// Returns a delivery to its queue, or rejects it to the queue's dead-letter exchange.
  public func reject(_ deliveryTag: UInt64, multiple: Bool = false, requeue: Bool) throws(RabbitMQError) {
    try send { amqp_basic_nack($0, RabbitMQHandle.channel, deliveryTag, multiple ? 1 : 0, requeue ? 1 : 0) }
  }
}
