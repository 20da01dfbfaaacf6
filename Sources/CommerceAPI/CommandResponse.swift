internal import JSON

/// What a command answers.
public struct CommandResponse: Sendable, Hashable {
  /// The id of what the command was about.
  public let id: String
  /// Its version now.
  public let version: Int64
  /// The position of its last event.
  public let position: Int64
  /// Where a repeated command has nothing to do: whether this one did something.
  public let hasChanged: Bool?

  public init(id: String, version: Int64, position: Int64, hasChanged: Bool? = nil) {
    self.id = id
    self.version = version
    self.position = position
    self.hasChanged = hasChanged
  }

  public var json: [UInt8] {
    var json = JSONWriter(reserving: 96)
    json.object { json in
      json.member("id", id)
      json.member("version", version)
      json.member("position", position)
      if let hasChanged { json.member("changed", hasChanged) }
    }
    return json.bytes
  }
}
