package import JSON

/// The response to a command: status, headers and body. It is stored with the command's key in this form, an HTTP
/// response without the protocol version and the reason:
///
///     201
///     Location: /v1/accounts/1
///     ETag: "1"
///     Streams: 42 9ae16a3b2f90404f+0
///
///     {"id":"1","version":1,"position":42}
package struct CommandResponse: Sendable, Hashable {
  package var status: Int
  /// The path of the resource, if the command created it.
  package var location: String?
  /// The version as an entity tag.
  package var entityTag: String
  /// The streams that the command read or wrote, in the form of `TouchedStreams`; nil if the response was stored before
  /// this field existed.
  package var streams: [UInt8]?
  package var body: [UInt8]

  /// - Parameters:
  ///   - position: The position of the last event, as text.
  ///   - hasChanged: Whether the command changed anything; nil leaves the member out.
  ///   - extra: Writes further members.
  package init(
    status: Int, location: String? = nil, id: String, version: Int64, position: [UInt8], streams: [UInt8],
    hasChanged: Bool? = nil, extra: ((inout JSONWriter) -> Void)? = nil
  ) {
    self.status = status
    self.location = location
    entityTag = "\"\(version)\""
    self.streams = streams
    var json = JSONWriter(reserving: 96)
    json.object { json in
      json.member("id", id)
      json.member("version", version)
      json.member("position", raw: position)
      if let hasChanged { json.member("changed", hasChanged) }
      extra?(&json)
    }
    body = json.bytes
  }

  package var encoded: [UInt8] {
    var head = "\(status)\n"
    if let location { head += "Location: \(location)\n" }
    head += "ETag: \(entityTag)\n"
    var encoded = Array(head.utf8)
    if let streams { encoded += Array("Streams: ".utf8) + streams + [0x0A] }
    return encoded + [0x0A] + body
  }

  /// Reads what `encoded` wrote; nil for anything else.
  package init?(_ encoded: [UInt8]) {
    var rest = encoded[...]
    func line() -> String? {
      guard let end = rest.firstIndex(of: 0x0A) else { return nil }
      defer { rest = rest[(end + 1)...] }
      return String(decoding: rest[..<end], as: UTF8.self)
    }
    guard let status = line().flatMap({ Int($0) }) else { return nil }
    var entityTag: String?
    while let header = line(), !header.isEmpty {
      if header.hasPrefix("ETag: ") {
        entityTag = String(header.dropFirst(6))
      } else if header.hasPrefix("Location: ") {
        location = String(header.dropFirst(10))
      } else if header.hasPrefix("Streams: ") {
        streams = Array(header.utf8.dropFirst(9))
      } else {
        return nil
      }
    }
    guard let entityTag else { return nil }
    self.status = status
    self.entityTag = entityTag
    body = Array(rest)
  }
}
