/// An exchange to declare.
public struct Exchange: Sendable, Hashable {
  public enum Kind: String, Sendable { case direct, topic, fanout, headers }

  public var name: String
  public var kind: Kind
  public var isDurable: Bool
  public var autoDelete: Bool
  public var arguments: [String: FieldValue]

  public init(
    _ name: String, _ kind: Kind, isDurable: Bool = true, autoDelete: Bool = false,
    arguments: [String: FieldValue] = [:]
  ) {
    self.name = name
    self.kind = kind
    self.isDurable = isDurable
    self.autoDelete = autoDelete
    self.arguments = arguments
  }
}

/// A queue to declare. An empty name lets the broker choose one.
public struct Queue: Sendable, Hashable {
  public var name: String
  public var isDurable: Bool
  public var isExclusive: Bool
  public var autoDelete: Bool
  public var arguments: [String: FieldValue]

  public init(
    _ name: String = "", isDurable: Bool = true, isExclusive: Bool = false, autoDelete: Bool = false,
    arguments: [String: FieldValue] = [:]
  ) {
    self.name = name
    self.isDurable = isDurable
    self.isExclusive = isExclusive
    self.autoDelete = autoDelete
    self.arguments = arguments
  }
}

/// A declared queue, and the number of messages that were ready in it.
public struct DeclaredQueue: Sendable, Hashable {
  public let name: String
  public let messageCount: Int
}
