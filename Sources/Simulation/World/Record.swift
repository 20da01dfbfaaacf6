internal import EventSourcing
internal import FoundationEssentials

/// The answers that clients got, and what happened to the stores meanwhile.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Record: @unchecked Sendable {
  /// A command that was acknowledged.
  struct Acknowledgement: Sendable {
    let command: String
    /// Its accounts, and the position of its last event on each.
    let places: [String: Position]
    let begun: Duration
    let ended: Duration
  }

  /// Events after `head` were lost.
  struct Loss: Sendable {
    let head: Position
    let time: Duration
  }

  var isOver = false
  var isPoisoning = false
  private(set) var acknowledged: [Acknowledgement] = []
  /// Commands that were rejected, and when they were first sent.
  private(set) var rejected: [(command: String, begun: Duration)] = []
  private(set) var losses: [Loss] = []
  private var lastCrash = Duration.seconds(-3_600)
  var violations: [String] = []
  /// Accounts that a query has shown.
  private var shown: Set<String> = []
  private(set) var counts: [String: Int] = [:]

  func acknowledge(_ one: Acknowledgement) { acknowledged.append(one) }
  func reject(_ command: String, begun: Duration) { rejected.append((command, begun)) }
  func restored(to head: Position, at time: Duration) { losses.append(Loss(head: head, time: time)) }
  func readStoreCrashed(at time: Duration) { lastCrash = time }
  func violate(_ what: String) { violations.append(what) }
  func show(_ account: String) { shown.insert(account) }
  func isShown(_ account: String) -> Bool { shown.contains(account) }
  func count(_ what: String) { counts[what, default: 0] += 1 }

  /// Whether the write store lost events since a time.
  func lostEvents(since time: Duration) -> Bool { losses.contains { $0.time >= time } }
  func crashed(since time: Duration) -> Bool { lastCrash >= time }

  /// Whether a command may be gone: a restore that came after it was sent goes back to before its event.
  func mayBeLost(_ one: Acknowledgement) -> Bool {
    losses.contains { loss in loss.time >= one.begun && one.places.values.contains { $0 > loss.head } }
  }
}
