internal import JSON

/// The wire names of the events of some aggregates.
public struct EventNames: Sendable {
  private let types: [any DomainEvent.Type]

  /// Collects the event types of some aggregates.
  /// - Parameter aggregates: may contain an aggregate twice.
  public init(_ aggregates: [any Aggregate.Type]) { types = aggregates.map { Self.events(of: $0) } }

  private static func events<State: Aggregate>(of _: State.Type) -> any DomainEvent.Type { State.Event.self }

  /// All names, in alphabetical order; nil if an event type does not list its own.
  public var all: [String]? {
    var all: Set<String> = []
    for type in types {
      guard let names = type.names else { return nil }
      all.formUnion(names)
    }
    return all.sorted()
  }

  /// Whether one of the events has this name.
  public func contains(_ name: String) -> Bool { types.contains { $0.has(name) } }
}

extension DomainEvent {
  fileprivate static func has(_ name: String) -> Bool {
    if let names { return names.contains(name) }
    // An error is about the data: the name is known then.
    do { return try decode(name, .object([])) != nil } catch { return true }
  }
}
