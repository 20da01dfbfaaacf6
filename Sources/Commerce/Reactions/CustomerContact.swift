internal import Commerce
internal import EventSourcing
internal import Reactions

/// A customer's sealed personal data.
struct CustomerContact: SnapshottingAggregate {
  static let category = Customer.category
  /// A `Customer` is the state of the same stream: its snapshots have other versions.
  static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1_001)

  /// The newest last; nothing after an erasure.
  private var sealed: [String] = []

  init() {}

  mutating func apply(_ event: CustomerEvent) {
    switch event {
    case .registered(let customer): sealed.append(customer.sealed)
    case .changed(let change): if let data = change.sealed { sealed.append(data) }
    case .personalDataErased: sealed = []
    }
  }

  /// Returns the newest e-mail address; nil if there is none, or the person has been erased.
  func email(of customerID: String, _ context: EffectContext) async throws -> String? {
    // A change may leave the address as it was, and then contains none.
    for sealed in sealed.reversed() {
      guard let bytes = try await context.open(sealed, of: customerID) else { return nil }
      let personal: PersonalData
      // The error could quote what it cannot read.
      do { personal = try PersonalData(parsing: bytes) } catch { throw PermanentFailure("sealed data is no JSON") }
      if let email = personal.email { return email }
    }
    return nil
  }
}
