extension StreamStore {
  /// Folds a stream's events, from its snapshot on if it has one.
  /// - Parameters:
  ///   - id: the aggregate's id.
  ///   - unreadable: gets the error of a snapshot that this build cannot read. The events give the same state, but more slowly.
  /// - Returns: the state, also of a stream that has no events.
  /// - Throws: `EventStoreError`, and `EventDecodingError` for an event that this build cannot read.
  package func state<State: Aggregate>(
    _: State.Type, _ id: String, unreadable: (EventDecodingError) -> Void
  ) async throws -> State {
    // `StreamState` makes its state from `reference.type`, which is `State`: new, or decoded from a snapshot as that type.
    try await state(of: AggregateReference(State.self, id), unreadable: unreadable).state as! State
  }

  /// Folds a stream's events like `state(_:_:unreadable:)`.
  package func state(
    of reference: AggregateReference, unreadable: (EventDecodingError) -> Void
  ) async throws -> StreamState {
    let page = 1_000
    var state = StreamState(new: reference)
    if let version = reference.snapshotPolicy?.schemaVersion,
      let snapshot = try await snapshots(of: [reference.stream: version])[reference.stream]
    {
      do throws(EventDecodingError) { state = try StreamState(snapshot, of: reference) } catch { unreadable(error) }
    }
    while true {
      let events = try await self.events(in: [reference.stream: state.cursor], limit: page)[reference.stream] ?? []
      try state.apply(events)
      guard events.count == page else { break }
    }
    return state
  }
}
