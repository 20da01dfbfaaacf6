internal import Commerce
public import EventSourcing
internal import JSON
public import PostgresEventStore
public import Projections

/// A customer as queries answer it, but for what they ordered.
public struct CustomerDocument: Sendable, Hashable {
  public let customerID: String
  /// nil once they are erased.
  public var name: String?
  public var email: String?
  public var country: String?
  public var erasedAt: String?
  public var version: Int64

  public var json: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("customerId", customerID)
      json.member("name", orNull: name)
      json.member("email", orNull: email)
      json.member("country", orNull: country)
      json.member("erasedAt", orNull: erasedAt)
      json.member("version", version)
    }
    return json.bytes
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  static func parse(_ bytes: [UInt8]) throws -> CustomerDocument {
    let json = try JSON(parsing: bytes)
    guard let customerID = json["customerId"]?.string, let version = json["version"]?.integer else {
      throw ReadModelError(description: "a customer's document is not as this build writes it")
    }
    return CustomerDocument(
      customerID: customerID, name: json["name"]?.string, email: json["email"]?.string,
      country: json["country"]?.string, erasedAt: json["erasedAt"]?.string, version: version)
  }
}

/// One row a customer. Names and addresses are opened with the persons' keys; whose key is gone has none.
public struct CustomersProjection: Projection {
  public let name = "customers"
  public let version = 2
  public let categories: Set = [Customer.category]

  public let table = DocumentTable<CustomerDocument>(
    "read_models.customers",
    columns: [
      .init("search", "text") { SearchText.normal($0.name ?? "") }, .init("email", "text") { $0.email?.lowercased() },
    ],
    encode: { $0.json }, decode: { try CustomerDocument.parse($0) })

  private let source: PersonalKeys?
  private var keys: [String: PersonalKey] = [:]

  /// - Parameter keys: nil opens nothing.
  public init(keys source: PersonalKeys?) { self.source = source }

  /// With the keys as they are now. Tables of the past, which hear of no erasure any more, get none.
  public func prepared(for events: [RecordedEvent], in generation: Generation) async throws -> Self {
    guard let source, generation.state != .past else { return self }
    return opening(with: try await source.keys(of: Set(events.map { String($0.stream.id) })))
  }

  /// The projection with these persons' keys.
  public func opening(with keys: [String: PersonalKey]) -> Self {
    var opening = self
    opening.keys = keys
    return opening
  }

  public func apply(_ event: RecordedEvent, to document: inout CustomerDocument?) throws {
    switch try CustomerEvent(event) {
    case .registered(let registered):
      let personal = try opened(registered.sealed, of: registered.customerID)
      document = CustomerDocument(
        customerID: registered.customerID, name: personal?.name, email: personal?.email, country: registered.country,
        version: event.version.rawValue)
    case .changed(let changed):
      guard var customer = document else { throw ReadModelError(description: "\(event.stream) has no row") }
      if let sealed = changed.sealed, let personal = try opened(sealed, of: changed.customerID) {
        customer.name = personal.name ?? customer.name
        customer.email = personal.email ?? customer.email
      }
      customer.country = changed.country ?? customer.country
      customer.version = event.version.rawValue
      document = customer
    case .personalDataErased(let erased):
      guard var customer = document else { throw ReadModelError(description: "\(event.stream) has no row") }
      (customer.name, customer.email, customer.erasedAt) = (nil, nil, erased.erasedAt.description)
      customer.version = event.version.rawValue
      document = customer
    }
  }

  private func opened(_ sealed: String, of person: String) throws -> PersonalData? {
    try keys[person].map { try PersonalData(parsing: $0.open(sealed, of: person)) }
  }
}
