internal import Commerce
internal import EventSourcing

/// Any event of the commerce domain.
enum CommerceEvent {
  case product(ProductEvent)
  case order(OrderEvent)

  /// - Throws: for a stream of an unknown category too: an event is never skipped because this build
  ///   does not know it.
  init(_ recorded: RecordedEvent) throws(EventDecodingError) {
    switch recorded.stream.category {
    case Product.category: self = .product(try ProductEvent(recorded))
    case Order.category: self = .order(try OrderEvent(recorded))
    default: throw .at(recorded.position, .unknownType(recorded.type, schemaVersion: recorded.schemaVersion))
    }
  }
}

/// A row's document cannot be read back, or an event comes before the one that makes its row.
struct ReadModelError: Error, CustomStringConvertible {
  let description: String
}
