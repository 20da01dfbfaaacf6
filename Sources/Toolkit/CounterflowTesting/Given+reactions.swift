public import EventSourcing
internal import JSON
public import Reactions

extension Given {
  /// Lets a reaction or a process manager react to the last event.
  ///
  ///     try given(Account.self, .opened(owner: "Ada")).on(CloseUnused())
  ///       .thenScheduled(CloseEmpty(), to: "1", .after(.seconds(900)))
  /// - Throws: `Mismatch` if nothing has happened; what the reaction throws; the errors of deciding its commands.
  public func on(_ reaction: some Reacting) throws -> Outcome {
    guard let event = events.last else { throw Mismatch(description: "nothing has happened that it could react to") }
    var (after, scheduled) = (self, [Scheduled]())
    for append in try reaction.definition.answer(event).appends {
      var outcome = try after.when(append.command)
      // A process manager finds out in its first decision which streams it needs.
      for _ in 0..<20 where append.command.needsMoreStreams { outcome = try after.when(append.command) }
      if let failure = append.command.failure { throw failure }
      guard outcome.rejection == nil else { return outcome }
      after = outcome.after
      scheduled += outcome.scheduled
    }
    return Outcome(
      events: Array(after.events.dropFirst(events.count)), after: after, rejection: nil, scheduled: scheduled)
  }
}

extension Given {
  /// Asks an effect which calls follow from the last event. None is made.
  ///
  ///     try given(Account.self, .deposited(amount: 5)).on(SendReceipt())
  ///       .thenCalls(SendReceipt.Call(account: "1", amount: 5))
  /// - Throws: `Mismatch` if nothing has happened; what the effect throws.
  public func on<E: Effect>(_ effect: E) throws -> FollowingCalls<E.Call> {
    guard let event = events.last else { throw Mismatch(description: "nothing has happened that it could react to") }
    return FollowingCalls(all: try effect.calls(on: event))
  }
}

/// The calls of an effect that follow from an event.
public struct FollowingCalls<Call: Equatable & Sendable>: Sendable {
  /// In the order in which they are made.
  public let all: [(slot: String, call: Call)]

  /// Expects exactly these calls, in this order; none for none.
  /// - Throws: `Mismatch` for anything else.
  public func thenCalls(_ expected: Call...) throws {
    let found = all.map(\.call)
    guard found == expected else { throw Mismatch(description: "expected the calls \(expected), found \(found)") }
  }
}

extension Outcome {
  /// Expects that exactly this command was scheduled.
  /// - Throws: `Mismatch` for anything else.
  @discardableResult
  public func thenScheduled(_ command: some Command & Codable, _ due: Due) throws -> Outcome {
    let found = try scheduled.map { try Self.text($0.command, $0.due) }
    let wanted = try Self.text(command, due)
    guard found == [wanted] else {
      throw Mismatch(description: "expected \(wanted) to be scheduled, found \(found.isEmpty ? ["nothing"] : found)")
    }
    return self
  }

  /// Expects that exactly this command for one stream was scheduled.
  @discardableResult
  public func thenScheduled(_ command: some StreamCommand & Codable, to id: String, _ due: Due) throws -> Outcome {
    try thenScheduled(Addressed(command, to: id), due)
  }

  private static func text(_ command: some Command & Codable, _ due: Due) throws -> String {
    var json = JSONWriter()
    try json.write(encoding: command)
    return "\(type(of: command).name) \(json.string) \(due)"
  }
}
