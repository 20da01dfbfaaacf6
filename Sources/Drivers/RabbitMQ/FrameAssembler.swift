internal import CRabbitMQ

/// A message from the broker that is not the reply to a call.
enum Incoming {
  case delivery(Delivery)
  case returned(messageID: String?, reply: UInt16, text: String)
  case confirm(tag: UInt64, multiple: Bool, accepted: Bool)
  case consumerCancelled(tag: String)
  case closed(RabbitMQError)
  case blocked(reason: String)
  case unblocked
}

/// Assembles frames: a delivery or return is a method frame, a header frame and body frames. It does no I/O, and copies
/// everything out of librabbitmq's memory.
struct FrameAssembler {
  private enum Head {
    case deliver(tag: UInt64, consumer: String, redelivered: Bool, exchange: String, routingKey: String)
    case returned(reply: UInt16, text: String)
  }

  private var head: Head?
  private var properties = Delivery.Properties()
  private var body: [UInt8] = []
  private var bodySize: UInt64 = 0

  mutating func take(_ frame: amqp_frame_t) -> Incoming? {
    switch Int32(frame.frame_type) {
    case AMQP_FRAME_METHOD: return take(method: frame.payload.method)
    case AMQP_FRAME_HEADER:
      bodySize = frame.payload.properties.body_size
      body = []
      body.reserveCapacity(Int(min(bodySize, 1 << 24)))
      if let decoded = frame.payload.properties.decoded {
        properties = Delivery.Properties(decoded.assumingMemoryBound(to: amqp_basic_properties_t.self).pointee)
      }
      return bodySize == 0 ? finish() : nil
    case AMQP_FRAME_BODY:
      let fragment = frame.payload.body_fragment
      body.append(contentsOf: UnsafeRawBufferPointer(start: fragment.bytes, count: fragment.len))
      return UInt64(body.count) >= bodySize ? finish() : nil
    default: return nil
    }
  }

  private mutating func finish() -> Incoming? {
    defer { (head, properties, body) = (nil, Delivery.Properties(), []) }
    switch head {
    case .deliver(let tag, let consumer, let redelivered, let exchange, let routingKey):
      return .delivery(
        Delivery(
          consumerTag: consumer, deliveryTag: tag, isRedelivered: redelivered, exchange: exchange,
          routingKey: routingKey, properties: properties, body: body))
    case .returned(let reply, let text):
      return .returned(messageID: properties.messageID, reply: reply, text: text)
    case nil: return nil
    }
  }

  private mutating func take(method: amqp_method_t) -> Incoming? {
    func decoded<Method>(as _: Method.Type) -> Method { method.decoded.assumingMemoryBound(to: Method.self).pointee }
    switch method.id {
    case Method.basicDeliver:
      let deliver = decoded(as: amqp_basic_deliver_t.self)
      head = .deliver(
        tag: deliver.delivery_tag, consumer: String(deliver.consumer_tag), redelivered: deliver.redelivered != 0,
        exchange: String(deliver.exchange), routingKey: String(deliver.routing_key))
    case Method.basicReturn:
      let returned = decoded(as: amqp_basic_return_t.self)
      head = .returned(reply: returned.reply_code, text: String(returned.reply_text))
    case Method.basicAck:
      let ack = decoded(as: amqp_basic_ack_t.self)
      return .confirm(tag: ack.delivery_tag, multiple: ack.multiple != 0, accepted: true)
    case Method.basicNack:
      let nack = decoded(as: amqp_basic_nack_t.self)
      return .confirm(tag: nack.delivery_tag, multiple: nack.multiple != 0, accepted: false)
    case Method.basicCancel:
      return .consumerCancelled(tag: String(decoded(as: amqp_basic_cancel_t.self).consumer_tag))
    case Method.channelClose:
      let close = decoded(as: amqp_channel_close_t.self)
      return .closed(RabbitMQError(.refused(reply: close.reply_code), String(close.reply_text)))
    case Method.connectionClose:
      let close = decoded(as: amqp_connection_close_t.self)
      return .closed(RabbitMQError(.connectionLost, "\(close.reply_code) \(String(close.reply_text))"))
    case Method.connectionBlocked:
      return .blocked(reason: String(decoded(as: amqp_connection_blocked_t.self).reason))
    case Method.connectionUnblocked: return .unblocked
    default: break
    }
    return nil
  }
}

/// Class and method numbers of AMQP 0-9-1 and RabbitMQ's extensions. Those of the C header are casts, which Swift does
/// not import.
enum Method {
  static let connectionClose: UInt32 = 0x000A_0032
  static let connectionBlocked: UInt32 = 0x000A_003C
  static let connectionUnblocked: UInt32 = 0x000A_003D
  static let channelClose: UInt32 = 0x0014_0028
  static let basicCancel: UInt32 = 0x003C_001E
  static let basicReturn: UInt32 = 0x003C_0032
  static let basicDeliver: UInt32 = 0x003C_003C
  static let basicAck: UInt32 = 0x003C_0050
  static let basicNack: UInt32 = 0x003C_0078
}

/// Flags for the properties that a message has (AMQP 0-9-1, section 4.2.6.1).
private enum PropertyFlag {
  static let contentType: UInt32 = 1 << 15
  static let headers: UInt32 = 1 << 13
  static let deliveryMode: UInt32 = 1 << 12
  static let messageID: UInt32 = 1 << 7
  static let type: UInt32 = 1 << 5
}

extension Delivery.Properties {
  init(_ properties: amqp_basic_properties_t) {
    func text(_ flag: UInt32, _ bytes: amqp_bytes_t) -> String? {
      properties._flags & flag == 0 ? nil : String(bytes)
    }
    contentType = text(PropertyFlag.contentType, properties.content_type)
    type = text(PropertyFlag.type, properties.type)
    messageID = text(PropertyFlag.messageID, properties.message_id)
    headers = properties._flags & PropertyFlag.headers == 0 ? [:] : [String: FieldValue](properties.headers)
  }
}

extension Message {
  /// Returns the properties in C form; `arena` owns their memory.
  func properties(messageID: String, in arena: inout Arena) -> amqp_basic_properties_t {
    var properties = amqp_basic_properties_t()
    properties._flags = PropertyFlag.deliveryMode | PropertyFlag.messageID
    properties.delivery_mode = isPersistent ? 2 : 1
    properties.message_id = arena.bytes(messageID)
    if let contentType {
      properties._flags |= PropertyFlag.contentType
      properties.content_type = arena.bytes(contentType)
    }
    if let type {
      properties._flags |= PropertyFlag.type
      properties.type = arena.bytes(type)
    }
    if !headers.isEmpty {
      properties._flags |= PropertyFlag.headers
      properties.headers = arena.table(headers)
    }
    return properties
  }
}
