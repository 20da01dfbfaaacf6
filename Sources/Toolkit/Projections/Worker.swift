internal import FoundationEssentials
internal import Machine

/// This process among all that run projections: a row in the store that it renews. When the row expires, the worker loses
/// its assignments to the others.
struct Worker: Sendable {
  let id = Machine.uuid()
  /// Host and process id, for people.
  let name: String
  let leaseDuration: Duration
  let store: any ProjectionStore

  /// Renews the row.
  func renew(running services: [String]) async throws {
    try await store.renew(id, name: name, running: services, for: leaseDuration)
  }

  /// Removes the row, so that others need not wait for it to expire.
  func leave() async { try? await store.leave(id) }
}
