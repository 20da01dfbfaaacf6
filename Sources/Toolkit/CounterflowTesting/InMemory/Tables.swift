internal import EventSourcing
internal import FoundationEssentials
internal import Projections
internal import QueryKit
internal import Synchronization

/// The tables of an application's read models.
struct Tables: TablesInMemory {
  let models: [any ModelInMemory]
  let progress = ProgressInMemory()

  init(_ models: [any ReadModel]) {
    func empty(_ model: some ReadModel) -> any ModelInMemory { TablesOfModel(model) }
    self.models = models.map { empty($0) }
  }

  func tables(of name: String) throws -> any ModelInMemory {
    guard let model = models.first(where: { $0.name == name }) else {
      throw Mismatch(description: "there is no read model \(name)")
    }
    return model
  }
}

/// How far tables in memory have come.
final class ProgressInMemory: Sendable {
  private struct State {
    var position = Position.start
    /// The place at which each parked stream waits, by read model.
    var parked: [String: [StreamID: Position]] = [:]
  }

  private let state = Mutex(State())

  var position: Position { state.withLock { $0.position } }
  func advance(to position: Position) { state.withLock { $0.position = position } }
  func park(_ event: RecordedEvent, in model: String) {
    state.withLock { $0.parked[model, default: [:]][event.stream] = event.position }
  }
  func isParked(_ stream: StreamID, in model: String) -> Bool { state.withLock { $0.parked[model]?[stream] != nil } }

  /// What a read store would show: each read model has one partition.
  func reading(of models: [any ModelInMemory], in historyID: UUID?) -> ProgressReading {
    state.withLock { state in
      ProgressReading(
        serving: models.map {
          .init(
            projection: $0.name, generation: 1, partitioning: .single, historyID: historyID,
            positions: [state.position.rawValue])
        },
        parked: state.parked.flatMap { model, streams in
          streams.map { .init(projection: model, stream: $0.key, position: $0.value) }
        })
    }
  }
}
