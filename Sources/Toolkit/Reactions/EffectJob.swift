internal import EventSourcing
internal import Logging
internal import Projections
internal import Synchronization

/// A call that the engine asks for. It gets one answer: from whoever claims it first.
final class EffectJob: Sendable {
  /// nil if the call has succeeded.
  typealias Answer = Result<Refusal?, any Error>

  let call: EffectDefinition.Call
  let event: RecordedEvent
  let key: String
  private let continuation: AsyncStream<Answer>.Continuation
  private let hasClaim = Atomic(false)

  init(
    call: EffectDefinition.Call, event: RecordedEvent, key: String, continuation: AsyncStream<Answer>.Continuation
  ) {
    (self.call, self.event, self.key, self.continuation) = (call, event, key, continuation)
  }

  var isClaimed: Bool { hasClaim.load(ordering: .acquiring) }

  /// - Returns: whether the caller must answer.
  func claim() -> Bool { !hasClaim.exchange(true, ordering: .acquiringAndReleasing) }

  /// Answers a job that the caller has claimed.
  func give(_ answer: Answer) { continuation.yield(answer) }

  func answer(_ answer: Answer) { if claim() { give(answer) } }

  func underWay(_ number: Int) -> Refusal {
    Refusal(event, error: "attempt \(number) of \(key) is under way", .underWay)
  }

  func refusal(_ error: String, _ delay: Duration?) -> Refusal {
    // A call that is not tried again, such as a mail to an address that is refused, says nothing of the others.
    Refusal(
      event, error: error, delay.map { Refusal.Next.retry(after: $0) } ?? .person, mayHaveCommonCause: delay != nil)
  }

  func place(_ attempt: Int, _ error: String) -> Logger.Metadata {
    ["stream": "\(event.stream)", "key": "\(key)", "attempt": "\(attempt)", "error": "\(error)"]
  }
}
