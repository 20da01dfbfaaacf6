public import JSON

/// The personal data that events contain in sealed form. nil means unknown, or unchanged in `CustomerChanged`.
public struct PersonalData: Sendable, Hashable {
  public var name: String?
  public var email: String?

  public init(name: String?, email: String?) {
    self.name = name
    self.email = email
  }

  public var encoded: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("name", ifPresent: name)
      json.member("email", ifPresent: email)
    }
    return json.bytes
  }

  /// - Throws: `JSONError` if the bytes are not valid JSON.
  public init(parsing bytes: [UInt8]) throws(JSONError) {
    let json = try JSON(parsing: bytes)
    (name, email) = (json["name"]?.string, json["email"]?.string)
  }
}
