internal import EventSourcing
internal import FoundationEssentials

/// A pending command and its decision.
struct DecidedCommand: Sendable {
  let pending: PendingCommand
  /// The rejection or error that ended the decision; nil if there was none.
  let rejection: (any Error)?
  /// The indexes of its events in the batch.
  let events: Range<Int>
  /// The states of the command's streams after it; the positions of the batch's own events are not known yet.
  let states: [StreamID: StreamState]
  let response: ResponseTemplate?
}

/// Commands decided in order of arrival. Each command sees the decisions of those before it.
struct DecidedBatch: Sendable {
  struct Bounds: Sendable {
    var events: Int
    /// Bytes of the events' data and metadata, and of the responses.
    var bytes: Int
  }

  private(set) var commands: [DecidedCommand] = []
  /// The commands that did not fit.
  private(set) var rest: ArraySlice<PendingCommand> = []
  private(set) var append = AppendBatch(expectedVersions: [:], events: [])
  var written: Set<StreamID> { Set(append.events.lazy.map(\.stream)) }

  /// - Parameters:
  ///   - batch: The first command is always decided, whatever the bounds.
  ///   - states: The states of all streams of the batch.
  ///   - history: The id of the history that the states belong to; nil if the store was not asked yet.
  init(
    _ batch: [PendingCommand], from states: [StreamID: StreamState], within bounds: Bounds, at time: Timestamp,
    in history: UUID?
  ) {
    var current = states
    let history = history ?? batch.lazy.compactMap(\.command.request.historyID).first
    append.historyID = history
    append.expectedVersions.reserveCapacity(states.count)
    append.commands.reserveCapacity(batch.count)
    commands.reserveCapacity(batch.count)
    // The offset of the batch's last event of each stream.
    var offsets: [StreamID: Int] = [:]
    var bytes = 0
    for (index, pending) in batch.enumerated() {
      guard index == 0 || (append.events.count < bounds.events && bytes < bounds.bytes) else {
        rest = batch[index...]
        break
      }
      let command = pending.command
      var own = [StreamID: StreamState](minimumCapacity: command.streams.count)
      for reference in command.streams {
        own[reference.stream] = current[reference.stream]!
        append.expectedVersions[reference.stream] = states[reference.stream]!.version
      }
      let first = append.events.count
      let before = own[command.subject]!.version
      let (rejection, decision, emitted, deadlines) = Self.decide(command, own, at: time, in: history)
      var response: ResponseTemplate?
      if rejection == nil {
        own = decision.states
        for event in emitted {
          offsets[event.stream] = append.events.count
          bytes += event.data.count + event.metadata.count
          append.events.append(event)
          current[event.stream] = own[event.stream]
        }
        let subject = own[command.subject]!
        let own = command.streams.map { ($0.stream, position: own[$0.stream]!.position, offset: offsets[$0.stream]) }
        let base = offsets[command.subject] ?? own.compactMap(\.offset).max()
        response = ResponseTemplate(
          command.response(
            Decided(
              version: subject.version, hasChanged: !emitted.isEmpty, isNew: before == .none && subject.version > .none,
              position: offsets[command.subject] == nil
                ? Array(String(subject.position.rawValue).utf8) : [ResponseTemplate.positionMark],
              streams: TouchedStreams.text(own, base: base))),
          offset: base)
        bytes += (response?.text.count ?? 0) + deadlines.reduce(0) { $0 + $1.data.count + $1.metadata.count }
      }
      let events = first..<append.events.count
      append.commands.append(
        AppendBatch.Command(
          key: command.request.key, isKeyGenerated: command.request.isKeyGenerated,
          fingerprint: command.request.fingerprint, eventCount: events.count, response: response,
          deadlines: deadlines,
          // A deadline that is rejected keeps its row.
          firing: rejection == nil ? command.request.firing : nil))
      commands.append(
        DecidedCommand(pending: pending, rejection: rejection, events: events, states: own, response: response))
    }
  }

  /// - Returns: The error if nothing is to be done, the decision, and the emitted events as they are stored.
  private static func decide(
    _ command: QueuedCommand, _ own: [StreamID: StreamState], at time: Timestamp, in history: UUID?
  ) -> ((any Error)?, Decision, [NewEvent], [Deadline]) {
    var decision = Decision(states: own)
    if let cause = command.request.historyID, cause != history {
      return (CommandError.historyChanged("\(command.name) follows from an event of another history"), decision, [], [])
    }
    let version = own[command.subject]!.version
    if let condition = command.request.condition, !condition.holds(for: version) {
      return (CommandError.preconditionFailed(command.subject, current: version), decision, [], [])
    }
    let rejection = command.decide(&decision)
    if let misuse = decision.misuse { return (CommandError.defect("\(command.name): \(misuse)"), decision, [], []) }
    guard rejection == nil, !decision.emitted.isEmpty || !decision.scheduled.isEmpty else {
      return (rejection, decision, [], [])
    }
    do {
      let metadata = command.request.metadata.encoded
      let events = try decision.emitted.map { try $0.event.new(in: $0.stream, id: .v7(at: time), metadata: metadata) }
      let deadlines = try decision.scheduled.map { try $0.deadline(.v7(at: time), metadata: metadata) }
      return (nil, decision, events, deadlines)
    } catch {
      return (CommandError.defect("\(command.name): what it decided cannot be encoded: \(error)"), decision, [], [])
    }
  }
}
