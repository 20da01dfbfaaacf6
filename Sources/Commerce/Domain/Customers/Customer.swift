public import EventSourcing

/// What can happen to a customer. Names and e-mail addresses stand in events only sealed with the person's own key.
public enum CustomerEvent: DomainEvent, Codable, Hashable {
  case registered(CustomerRegistered)
  case changed(CustomerChanged)
  case personalDataErased(PersonalDataErased)

  enum CodingKeys: String, CodingKey {
    case registered = "CustomerRegistered", changed = "CustomerChanged", personalDataErased = "PersonalDataErased"
  }
}

public struct CustomerRegistered: Codable, Sendable, Hashable {
  public let customerID: String
  /// `PersonalData`, sealed; empty where there is no key, which is refused.
  public let sealed: String
  public let country: String?

  enum CodingKeys: String, CodingKey { case customerID = "customerId", sealed, country }

  public init(customerID: String, sealed: String, country: String?) {
    self.customerID = customerID
    self.sealed = sealed
    self.country = country
  }
}

/// What is nil stays as it was.
public struct CustomerChanged: Codable, Sendable, Hashable {
  public let customerID: String
  /// `PersonalData`, sealed: what is not in it stays as it was. Empty where there is no key, which is refused.
  public let sealed: String?
  public let country: String?

  enum CodingKeys: String, CodingKey { case customerID = "customerId", sealed, country }

  public init(customerID: String, sealed: String?, country: String?) {
    self.customerID = customerID
    self.sealed = sealed
    self.country = country
  }
}

/// With this event the person's key is gone, and what was sealed with it can be read by nobody.
public struct PersonalDataErased: Codable, Sendable, Hashable {
  public let customerID: String
  /// How many events were made unreadable.
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

/// A customer as decisions see it: nothing personal.
public struct Customer: Aggregate, Hashable {
  public static let category = "customer"

  public private(set) var isRegistered = false
  public private(set) var country: String?
  /// Events with something sealed in them.
  public private(set) var sealedEvents: Int64 = 0
  /// Once the personal data is gone.
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

/// Changes what is known about a customer.
public struct ChangeCustomer: Command {
  public let change: CustomerChanged

  public init(_ change: CustomerChanged) { self.change = change }

  public var streams: [AggregateReference] { [AggregateReference(Customer.self, change.customerID)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let customer = decision.state(Customer.self, change.customerID)
    guard customer.isRegistered else { throw .customerNotFound(change.customerID) }
    guard customer.erased == nil else { throw .customerIsErased(change.customerID) }
    // Registered only after its key was looked for.
    guard change.sealed != "" else { throw .changedMeanwhile(change.customerID) }
    // Sealed data cannot be compared with what was there.
    guard change.sealed != nil || (change.country != nil && change.country != customer.country) else { return }
    decision.emit(.changed(change), to: Customer.self, change.customerID)
  }
}

/// Erases a person from history: with its event the store deletes the key.
public struct ErasePersonalData: Command {
  /// With as many events as the customer has with something sealed in them: read them beforehand.
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
