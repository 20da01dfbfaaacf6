package import EventSourcing
internal import FoundationEssentials
internal import JSON
internal import PostgresEventStore
package import RabbitMQ

/// The exchange on which the relay publishes every event for other systems. It is a durable topic exchange with one
/// event per message, in the CloudEvents JSON format (CloudEvents 1.0, JSON event format, section 3). Events arrive at
/// least once, in the store's order.
package enum IntegrationFeed {
  package static let exchange = Exchange("counterflow.events", .topic, isDurable: true)
  package static let contentType = "application/cloudevents+json"

  /// Returns `category.EventType`, such as `account.AccountOpened`. Bind `account.*`, or `#` for all events.
  package static func routingKey(_ event: RecordedEvent) -> String { "\(event.stream.category).\(event.type)" }

  /// - Parameter source: the CloudEvents source, a URI reference.
  static func message(_ event: RecordedEvent, historyID: UUID, source: String) -> Message {
    var json = JSONWriter(reserving: event.data.count + event.metadata.count + 512)
    json.object { json in
      json.member("specversion", "1.0")
      json.member("id", event.id.uuidString.lowercased())
      json.member("source", source)
      json.member("type", event.type)
      json.member("subject", event.stream.rawValue)
      json.member("time", event.recordedAt.description)
      json.member("datacontenttype", "application/json")
      // Extension attributes. An integer of CloudEvents has 32 bits, so that larger numbers are strings.
      json.member("schemaversion", Int64(event.schemaVersion))
      json.member("streamversion", "\(event.version)")
      json.member("position", "\(event.position)")
      json.member("historyid", historyID.uuidString.lowercased())
      if let metadata = try? JSON(parsing: event.metadata) {
        if let id = metadata["correlationId"]?.string { json.member("correlationid", id) }
        if let id = metadata["causationId"]?.string { json.member("causationid", id) }
        if let actor = metadata["actor"]?.string { json.member("actor", actor) }
        if let parent = metadata["traceparent"]?.string { json.member("traceparent", parent) }
      }
      json.member("data") { $0.write(raw: event.data) }
    }
    // Also in the headers, where the tracing of consumers looks for it.
    let headers: [String: FieldValue] = event.traceParent.map { ["traceparent": .string($0)] } ?? [:]
    return Message(
      exchange: exchange.name, routingKey: routingKey(event), body: json.bytes, contentType: contentType,
      type: event.type, messageID: event.id.uuidString.lowercased(), headers: headers)
  }
}
