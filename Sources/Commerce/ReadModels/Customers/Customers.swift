internal import Commerce
public import EventSourcing
public import PostgresEventStore
public import Projections

/// A customer's row. Queries add the figures of the customer's orders to it.
public struct CustomerRow: Codable, Sendable, Hashable {
  public let customerId: String
  /// nil if the personal data is erased.
  public var name: String?
  public var email: String?
  public var country: String?
  public var erasedAt: Timestamp?
  public var version: Int64
}

/// The read model of customers: one row per customer. Each person's key opens the name and the e-mail address. They
/// are nil if the key is gone.
public struct Customers: ReadModel {
  public let name = "customers"
  public let version = 1

  public let columns = [
    Column<CustomerRow>.search("search") { $0.name ?? "" }, Column("email") { $0.email?.lowercased() },
  ]

  public let indexes = [Index("email", where: "email is not null")]

  private let source: PersonalKeys?
  private var keys: [String: PersonalKey] = [:]

  /// - Parameter keys: with nil, no personal data is opened.
  public init(keys source: PersonalKeys?) { self.source = source }

  /// Loads the current keys of the customers in `events`. Rows as of the past get no keys, because they do not follow
  /// later erasures.
  public func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self {
    guard let source, end == nil else { return self }
    var prepared = self
    prepared.keys = try await source.keys(of: Set(events.map { String($0.stream.id) }))
    return prepared
  }

  public var sources: [RowSource<CustomerRow>] {
    [
      RowSource(Customer.self) { [keys] event, row in
        func opened(_ sealed: String, of person: String) throws -> PersonalData? {
          try keys[person].map { try PersonalData(parsing: $0.open(sealed, of: person)) }
        }
        switch event.event {
        case .registered(let registered):
          let personal = try opened(registered.sealed, of: registered.customerID)
          row = CustomerRow(
            customerId: registered.customerID, name: personal?.name, email: personal?.email,
            country: registered.country, version: event.version.rawValue)
        case .changed(let changed):
          guard var customer = row else { throw MissingRow() }
          if let sealed = changed.sealed, let personal = try opened(sealed, of: changed.customerID) {
            customer.name = personal.name ?? customer.name
            customer.email = personal.email ?? customer.email
          }
          customer.country = changed.country ?? customer.country
          row = customer
        case .personalDataErased(let erased):
          guard var customer = row else { throw MissingRow() }
          (customer.name, customer.email, customer.erasedAt) = (nil, nil, erased.erasedAt)
          row = customer
        }
        row?.version = event.version.rawValue
      }
    ]
  }
}
