internal import CRabbitMQ

extension RabbitMQConnection {
  /// Declares an exchange, or checks that the existing one of that name has the same properties.
  /// - Throws: `refused(reply: 406)` if it exists with other properties.
  public func declare(_ exchange: Exchange) throws(RabbitMQError) {
    var arena = Arena()
    let (name, kind) = (arena.bytes(exchange.name), arena.bytes(exchange.kind.rawValue))
    let arguments = arena.table(exchange.arguments)
    _ = try call {
      amqp_exchange_declare(
        $0, RabbitMQHandle.channel, name, kind, 0, exchange.isDurable ? 1 : 0, exchange.autoDelete ? 1 : 0, 0,
        arguments)
    }
  }

  /// Declares a queue, or checks that the existing one of that name has the same properties.
  /// - Throws: `refused(reply: 406)` if it exists with other properties, `refused(reply: 405)` if another connection
  ///   holds it exclusively.
  @discardableResult
  public func declare(_ queue: Queue) throws(RabbitMQError) -> DeclaredQueue {
    var arena = Arena()
    let (name, arguments) = (arena.bytes(queue.name), arena.table(queue.arguments))
    let reply = try call {
      amqp_queue_declare(
        $0, RabbitMQHandle.channel, name, 0, queue.isDurable ? 1 : 0, queue.isExclusive ? 1 : 0,
        queue.autoDelete ? 1 : 0, arguments
      ).map { DeclaredQueue(name: String($0.pointee.queue), messageCount: Int($0.pointee.message_count)) }
    }
    guard let reply else { throw RabbitMQError(.connectionLost, "no reply") }
    return reply
  }

  public func bind(queue: String, to exchange: String, routingKey: String) throws(RabbitMQError) {
    var arena = Arena()
    let (queue, exchange, key) = (arena.bytes(queue), arena.bytes(exchange), arena.bytes(routingKey))
    let none = arena.table([:])
    _ = try call { amqp_queue_bind($0, RabbitMQHandle.channel, queue, exchange, key, none) }
  }

  public func unbind(queue: String, from exchange: String, routingKey: String) throws(RabbitMQError) {
    var arena = Arena()
    let (queue, exchange, key) = (arena.bytes(queue), arena.bytes(exchange), arena.bytes(routingKey))
    let none = arena.table([:])
    _ = try call { amqp_queue_unbind($0, RabbitMQHandle.channel, queue, exchange, key, none) }
  }

  /// Drops the messages that are ready in the queue.
  public func purge(queue: String) throws(RabbitMQError) {
    var arena = Arena()
    let queue = arena.bytes(queue)
    _ = try call { amqp_queue_purge($0, RabbitMQHandle.channel, queue) }
  }

  public func delete(queue: String) throws(RabbitMQError) {
    var arena = Arena()
    let queue = arena.bytes(queue)
    _ = try call { amqp_queue_delete($0, RabbitMQHandle.channel, queue, 0, 0) }
  }

  public func delete(exchange: String) throws(RabbitMQError) {
    var arena = Arena()
    let exchange = arena.bytes(exchange)
    _ = try call { amqp_exchange_delete($0, RabbitMQHandle.channel, exchange, 0) }
  }
}
