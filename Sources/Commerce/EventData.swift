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
