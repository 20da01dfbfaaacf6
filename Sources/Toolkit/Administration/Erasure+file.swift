internal import EventSourcing
internal import JSON
internal import PostgresEventStore

extension Erasure {
  /// The erasure as a line of an exported file, without the end of the line.
  var line: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("person", person)
      json.member("erasedAt", erasedAt.description)
      guard let event else { return }
      json.member("stream", event.stream.rawValue)
      json.member("schemaVersion", Int64(event.schemaVersion))
      json.member("data", event.data)
      json.member("metadata", event.metadata)
    }
    return json.bytes
  }

  /// Reads a line of an exported file; nil if it is none.
  init?(line: [UInt8]) {
    guard let json = try? JSON(parsing: line), let person = json["person"]?.string,
      let time = json["erasedAt"]?.string, let erasedAt = Timestamp(time)
    else { return nil }
    var event: Event?
    if let stream = json["stream"]?.string {
      guard case .integer(let schemaVersion)? = json["schemaVersion"], let data = json["data"]?.string,
        let metadata = json["metadata"]?.string, (try? JSON(parsing: Array(data.utf8))) != nil,
        (try? JSON(parsing: Array(metadata.utf8))) != nil, let end = stream.firstIndex(of: "-"),
        StreamID.isValid(category: String(stream[..<end]), id: person), stream == "\(stream[..<end])-\(person)"
      else { return nil }
      event = Event(
        stream: StreamID(rawValue: stream), schemaVersion: Int(schemaVersion), data: data, metadata: metadata)
    }
    self.init(person: person, erasedAt: erasedAt, event: event)
  }
}
