internal import EventSourcing
internal import JSON

extension JSON {
  func text(_ name: String) throws(EventDecodingError) -> String {
    guard let value = self[name]?.string else { throw .malformed("\(name) is not a string") }
    return value
  }

  func boolean(_ name: String) throws(EventDecodingError) -> Bool {
    guard case .boolean(let value)? = self[name] else { throw .malformed("\(name) is not true or false") }
    return value
  }

  func integer(_ name: String) throws(EventDecodingError) -> Int64 {
    guard let value = self[name]?.integer else { throw .malformed("\(name) is not a whole number") }
    return value
  }
}

extension JSON {
  /// For upcasters: an object with one member more, or with another value of it.
  func setting(_ name: String, to value: JSON) -> JSON {
    .object((members ?? []).filter { $0.name != name } + [.init(name, value)])
  }

  /// The texts of a member that may be missing.
  func optionalText(_ name: String) -> String? { self[name]?.string }

  func time(_ name: String) throws(EventDecodingError) -> Timestamp {
    guard let time = Timestamp(try text(name)) else { throw .malformed("\(name) is not a time") }
    return time
  }

  func elements<Element>(
    _ name: String, _ read: (JSON) throws(EventDecodingError) -> Element
  ) throws(EventDecodingError) -> [Element] {
    guard let elements = self[name]?.array else { throw .malformed("\(name) is not an array") }
    var result: [Element] = []
    for element in elements { result.append(try read(element)) }
    return result
  }
}
