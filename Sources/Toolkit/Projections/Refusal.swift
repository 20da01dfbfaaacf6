package import EventSourcing

/// An event that a reaction could not handle. Its stream is parked there; everything else goes on.
package struct Refusal: Sendable {
  /// What happens next to the stream.
  package enum Next: Sendable, Hashable {
    /// The event is still being handled: the engine gives it again at its next look.
    case underWay
    /// The engine gives the event again after that time.
    case retry(after: Duration)
    /// It waits for a person.
    case person
  }

  package let event: RecordedEvent
  package let error: String
  package let next: Next
  /// Whether many such refusals mean that they have one cause, so that their partition stops.
  package let mayHaveCommonCause: Bool

  package init(_ event: RecordedEvent, error: String, _ next: Next, mayHaveCommonCause: Bool = true) {
    (self.event, self.error, self.next) = (event, error, next)
    self.mayHaveCommonCause = mayHaveCommonCause && next != .underWay
  }
}
