/// A value in a table of headers or arguments.
public enum FieldValue: Sendable, Hashable {
  case string(String)
  case integer(Int64)
  case boolean(Bool)
  case table([String: FieldValue])
  /// A type that this module does not read; AMQP's type letter.
  case other(UInt8)
}

extension FieldValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(booleanLiteral value: Bool) { self = .boolean(value) }
}

/// A message to publish.
public struct Message: Sendable {
  public var exchange: String
  public var routingKey: String
  public var body: [UInt8]
  public var contentType: String?
  public var type: String?
  /// Given by the publisher where nil, so that a returned message can be told from others.
  public var messageID: String?
  public var headers: [String: FieldValue]
  /// Written to disk by durable queues (delivery mode 2).
  public var isPersistent: Bool
  /// Asks the broker to return the message when no queue takes it. It is silent while any queue does.
  public var isMandatory: Bool

  public init(
    exchange: String, routingKey: String, body: [UInt8], contentType: String? = nil, type: String? = nil,
    messageID: String? = nil, headers: [String: FieldValue] = [:], isPersistent: Bool = true, isMandatory: Bool = true
  ) {
    self.exchange = exchange
    self.routingKey = routingKey
    self.body = body
    self.contentType = contentType
    self.type = type
    self.messageID = messageID
    self.headers = headers
    self.isPersistent = isPersistent
    self.isMandatory = isMandatory
  }
}

/// What became of a published message.
public enum PublishOutcome: Sendable, Equatable {
  /// Every queue that it was routed to has taken responsibility for it.
  case accepted
  /// A queue refused it, for instance because it is full (basic.nack).
  case refused
  /// No queue is bound for it; it is gone (basic.return with AMQP's reply code, usually 312).
  case returned(reply: UInt16, text: String)
}

/// A message as delivered to a consumer.
public struct Delivery: Sendable {
  public let consumerTag: String
  public let deliveryTag: UInt64
  public let isRedelivered: Bool
  public let exchange: String
  public let routingKey: String
  public let properties: Properties
  public let body: [UInt8]

  public struct Properties: Sendable, Hashable {
    public var contentType: String?
    public var type: String?
    public var messageID: String?
    public var headers: [String: FieldValue] = [:]
  }
}
