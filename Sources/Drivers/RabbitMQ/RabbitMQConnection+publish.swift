internal import CRabbitMQ

extension RabbitMQConnection {
  /// Sends `messages` in order and waits until the broker has confirmed all of them. Any number of calls may wait at
  /// once: their confirms are pipelined.
  /// - Returns: the outcome of each message, in order.
  /// - Throws: `blocked` or `tooMuchInFlight` before anything is sent; `connectionLost` or `timeout` if the outcome is
  ///   unknown.
  public func publish(_ messages: [Message]) async throws(RabbitMQError) -> [PublishOutcome] {
    guard !messages.isEmpty else { return [] }
    if !confirmsAreOn {
      _ = try call { amqp_confirm_select($0, RabbitMQHandle.channel) }
      confirmsAreOn = true
    }
    guard !isBlocked else { throw RabbitMQError(.blocked, "the broker has blocked publishing") }
    let sizes = messages.map(\.body.count)
    guard ledger.bytesInFlight + sizes.reduce(0, +) <= configuration.maximumInFlight || ledger.bytesInFlight == 0
    else { throw RabbitMQError(.tooMuchInFlight, "\(ledger.bytesInFlight) bytes are unconfirmed") }

    let batch = nextBatch
    nextBatch += 1
    let firstTag = ledger.nextTag
    let messageIDs = messages.indices.map { messages[$0].messageID ?? "\(firstTag + UInt64($0))" }
    ledger.open(
      batch: batch, sizes: sizes, messageIDs: messageIDs, deadline: .now + configuration.confirmTimeout)
    for (message, messageID) in zip(messages, messageIDs) { try send(message, messageID) }
    let result: Result<[PublishOutcome], RabbitMQError> = await withCheckedContinuation { continuation in
      // The connection may have failed during the sends.
      if let failure { continuation.resume(returning: .failure(failure)) } else { waiting[batch] = continuation }
    }
    return try result.get()
  }

  func settle(_ tag: UInt64, multiple: Bool, accepted: Bool) {
    for (batch, confirmations) in ledger.settle(tag, multiple: multiple, accepted: accepted) {
      waiting.removeValue(forKey: batch)?.resume(returning: .success(confirmations))
    }
  }

  private func send(_ message: Message, _ messageID: String) throws(RabbitMQError) {
    var arena = Arena()
    let (exchange, key) = (arena.bytes(message.exchange), arena.bytes(message.routingKey))
    var properties = message.properties(messageID: messageID, in: &arena)
    try send { state in
      message.body.withUnsafeBytes { body in
        let bytes = amqp_bytes_t(len: body.count, bytes: UnsafeMutableRawPointer(mutating: body.baseAddress))
        return amqp_basic_publish(
          state, RabbitMQHandle.channel, exchange, key, message.isMandatory ? 1 : 0, 0, &properties, bytes)
      }
    }
  }
}
