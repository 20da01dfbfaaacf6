internal import EventSourcing
internal import JSON

extension KeyedDecodingContainer {
  /// Decodes a line's quantity. The quantity times the price must fit in 64 bits.
  func decode(_ quantity: Key, times price: Key) throws -> Int64 {
    let value = try decode(Int64.self, forKey: quantity)
    guard !value.multipliedReportingOverflow(by: try decode(Int64.self, forKey: price)).overflow else {
      throw DecodingError.dataCorruptedError(
        forKey: quantity, in: self, debugDescription: "times the price must fit in 64 bits")
    }
    return value
  }
}

// For upcasters, and for events that are decoded by hand.
extension JSON {
  func text(_ name: String) throws(EventDecodingError) -> String {
    guard let value = self[name]?.string else { throw .malformed("/\(name): must be a string") }
    return value
  }

  func integer(_ name: String) throws(EventDecodingError) -> Int64 {
    guard let value = self[name]?.integer else { throw .malformed("/\(name): must be a whole number") }
    return value
  }

  /// Returns the object with this member added or replaced.
  func setting(_ name: String, to value: JSON) -> JSON {
    .object((members ?? []).filter { $0.name != name } + [.init(name, value)])
  }

  func elements<Element>(
    _ name: String, _ read: (JSON) throws(EventDecodingError) -> Element
  ) throws(EventDecodingError) -> [Element] {
    guard let elements = self[name]?.array else { throw .malformed("/\(name): must be an array") }
    var result: [Element] = []
    for element in elements { result.append(try read(element)) }
    return result
  }
}
