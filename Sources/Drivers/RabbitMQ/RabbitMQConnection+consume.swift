internal import CRabbitMQ

extension RabbitMQConnection {
  /// Consumes from `queue`, with at most `prefetch` deliveries unacknowledged, which also bounds what
  /// the stream holds. The stream ends with an error when the connection is lost or the queue deleted.
  /// Unacknowledged deliveries then come again, possibly after newer ones.
  public func consume(
    queue: String, prefetch: UInt16, isExclusive: Bool = false, arguments: [String: FieldValue] = [:]
  ) throws(RabbitMQError) -> AsyncThrowingStream<Delivery, any Error> {
    precondition(prefetch > 0, "a prefetch of 0 has no bound")
    _ = try call { amqp_basic_qos($0, RabbitMQHandle.channel, 0, prefetch, 0) }
    var arena = Arena()
    let tag = "consumer-\(consumers.count + 1)"
    let (name, consumer, table) = (arena.bytes(queue), arena.bytes(tag), arena.table(arguments))
    let (stream, continuation) = AsyncThrowingStream.makeStream(of: Delivery.self, throwing: (any Error).self)
    // Known before the broker is asked: deliveries may come with the reply.
    consumers[tag] = continuation
    _ = try call {
      amqp_basic_consume($0, RabbitMQHandle.channel, name, consumer, 0, 0, isExclusive ? 1 : 0, table)
    }
    return stream
  }

  /// Takes responsibility for a delivery, or for all up to it.
  public func acknowledge(_ deliveryTag: UInt64, multiple: Bool = false) throws(RabbitMQError) {
    try send { amqp_basic_ack($0, RabbitMQHandle.channel, deliveryTag, multiple ? 1 : 0) }
  }

  /// Gives a delivery back to its queue, or to the queue's dead-letter exchange.
  public func reject(_ deliveryTag: UInt64, multiple: Bool = false, requeue: Bool) throws(RabbitMQError) {
    try send { amqp_basic_nack($0, RabbitMQHandle.channel, deliveryTag, multiple ? 1 : 0, requeue ? 1 : 0) }
  }
}
