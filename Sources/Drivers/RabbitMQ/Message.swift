/// A value in a table of headers or arguments.
public enum FieldValue: Sendable, Hashable {
  case string(String)
  case integer(Int64)
  case boolean(Bool)
  case table([String: FieldValue])
  /// A type that this module does not read, with AMQP's type letter.
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
  /// If nil, the publisher sets it, so that a returned message can be identified.
  public var messageID: String?
  public var headers: [String: FieldValue]
  /// Whether durable queues write the message to disk (delivery mode 2).
  public var isPersistent: Bool
  /// Whether the broker returns the message if no queue takes it. It returns nothing if at least one queue takes it.
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

/// The outcome of publishing a message.
public enum PublishOutcome: Sendable, Equatable {
  /// Every queue to which the message was routed has taken responsibility for it.
  case accepted
  /// A queue rejected the message, for instance because it is full (basic.nack).
  case refused
  /// No queue is bound for the message, which is lost (basic.return with AMQP's reply code, usually 312).
  case returned(reply: UInt16, text: String)
}

/// A message delivered to a consumer.
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
