public import EventSourcing

/// An event of a customer. Events contain names and e-mail addresses only sealed with the person's own key.
public enum CustomerEvent: DomainEvent, Codable, Hashable {
  case registered(CustomerRegistered)
  case changed(CustomerChanged)
  case personalDataErased(PersonalDataErased)

  enum CodingKeys: String, CodingKey, CaseIterable {
    case registered = "CustomerRegistered", changed = "CustomerChanged", personalDataErased = "PersonalDataErased"
  }
}

public struct CustomerRegistered: Codable, Sendable, Hashable {
  public let customerID: String
  /// `PersonalData`, sealed. Empty if the person's key was erased; the command is then rejected.
  public let sealed: String
  public let country: String?

  enum CodingKeys: String, CodingKey { case customerID = "customerId", sealed, country }

  public init(customerID: String, sealed: String, country: String?) {
    self.customerID = customerID
    self.sealed = sealed
    self.country = country
  }
}

/// A change to a customer. Properties that are nil stay as they were.
public struct CustomerChanged: Codable, Sendable, Hashable {
  public let customerID: String
  /// `PersonalData`, sealed; its nil members stay as they were. Empty if there is no key; the command is then rejected.
  public let sealed: String?
  public let country: String?

  enum CodingKeys: String, CodingKey { case customerID = "customerId", sealed, country }

  public init(customerID: String, sealed: String?, country: String?) {
    self.customerID = customerID
    self.sealed = sealed
    self.country = country
  }
}

/// The erasure of a person's key. Nobody can read the data that was sealed with it any more.
public struct PersonalDataErased: Codable, Sendable, Hashable {
  public let customerID: String
  /// The number of events that became unreadable.
  public let events: Int64
  public let erasedAt: Timestamp
  public let reason: String?

  enum CodingKeys: String, CodingKey { case customerID = "customerId", events, erasedAt, reason }

  public init(customerID: String, events: Int64, erasedAt: Timestamp, reason: String?) {
    self.customerID = customerID
    self.events = events
    self.erasedAt = erasedAt
    self.reason = reason
  }
}

/// The state of a customer, for decisions. It contains no personal data.
public struct Customer: SnapshottingAggregate, Hashable {
  public static let category = "customer"
  public static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1)

  public private(set) var isRegistered = false
  public private(set) var country: String?
  /// The number of events with sealed data.
  public private(set) var sealedEvents: Int64 = 0
  /// The erasure; nil if the personal data is not erased.
  public private(set) var erased: PersonalDataErased?

  public init() {}

  public mutating func apply(_ event: CustomerEvent) {
    switch event {
    case .registered(let event): (isRegistered, country, sealedEvents) = (true, event.country, sealedEvents + 1)
    case .changed(let event):
      country = event.country ?? country
      if event.sealed != nil { sealedEvents += 1 }
    case .personalDataErased(let event): erased = event
    }
  }
}

/// Adds a customer.
public struct RegisterCustomer: Command {
  public let customer: CustomerRegistered

  public init(_ customer: CustomerRegistered) { self.customer = customer }

  public var streams: [AggregateReference] {
    [AggregateReference(Customer.self, customer.customerID, isExpectedNew: true)]
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    guard !decision.state(Customer.self, customer.customerID).isRegistered else {
      throw .customerExists(customer.customerID)
    }
    guard !customer.sealed.isEmpty else { throw .customerIsErased(customer.customerID) }
    decision.emit(.registered(customer), to: Customer.self, customer.customerID)
  }
}

/// Changes the data of a customer.
public struct ChangeCustomer: Command {
  public let change: CustomerChanged

  public init(_ change: CustomerChanged) { self.change = change }

  public var streams: [AggregateReference] { [AggregateReference(Customer.self, change.customerID)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let customer = decision.state(Customer.self, change.customerID)
    guard customer.isRegistered else { throw .customerNotFound(change.customerID) }
    guard customer.erased == nil else { throw .customerIsErased(change.customerID) }
    // The customer was registered after the route looked for the key. The route tries again.
    guard change.sealed != "" else { throw .changedMeanwhile(change.customerID) }
    // Sealed data cannot be compared with the old data.
    guard change.sealed != nil || (change.country != nil && change.country != customer.country) else { return }
    decision.emit(.changed(change), to: Customer.self, change.customerID)
  }
}

/// Erases a customer's personal data: when the event is appended, the store deletes the person's key.
public struct ErasePersonalData: Command {
  /// Its `events` must be the customer's number of events with sealed data, so read the stream first.
  public let erasure: PersonalDataErased

  public init(_ erasure: PersonalDataErased) { self.erasure = erasure }

  public var streams: [AggregateReference] { [AggregateReference(Customer.self, erasure.customerID)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let customer = decision.state(Customer.self, erasure.customerID)
    guard customer.isRegistered else { throw .customerNotFound(erasure.customerID) }
    guard customer.erased == nil || customer.erased == erasure else { throw .changedMeanwhile(erasure.customerID) }
    guard customer.erased == nil else { return }
    guard customer.sealedEvents == erasure.events else { throw .changedMeanwhile(erasure.customerID) }
    decision.emit(.personalDataErased(erasure), to: Customer.self, erasure.customerID)
  }
}
