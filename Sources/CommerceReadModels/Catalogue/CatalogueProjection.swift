internal import Commerce
public import EventSourcing
internal import JSON
public import Postgres
public import Projections

/// A product as queries answer it.
public struct ProductDocument: Sendable, Hashable {
  public let sku: String
  public let name: String
  public let description: String?
  public var unitPrice: Int64
  public let currency: String
  public var status: String
  public var version: Int64

  public var json: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("sku", sku)
      json.member("name", name)
      json.member("description") { if let description { $0.write(description) } else { $0.writeNull() } }
      json.member("unitPrice", unitPrice)
      json.member("currency", currency)
      json.member("status", status)
      json.member("version", version)
    }
    return json.bytes
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  static func parse(_ bytes: [UInt8]) throws -> ProductDocument {
    let json = try JSON(parsing: bytes)
    guard let sku = json["sku"]?.string, let name = json["name"]?.string,
      let unitPrice = json["unitPrice"]?.integer, let currency = json["currency"]?.string,
      let status = json["status"]?.string, let version = json["version"]?.integer
    else { throw ReadModelError(description: "a product's document is not as this build writes it") }
    return ProductDocument(
      sku: sku, name: name, description: json["description"]?.string, unitPrice: unitPrice, currency: currency,
      status: status, version: version)
  }
}

/// One row a product.
public struct CatalogueProjection: Projection {
  public let name = "catalogue"
  public let version = 1
  public let categories: Set = [Product.category]

  public let table = DocumentTable<ProductDocument>(
    "read_models.catalogue", columns: [], encode: { $0.json }, decode: { try ProductDocument.parse($0) })

  public init() {}

  public func apply(_ event: RecordedEvent, to document: inout ProductDocument?) throws {
    switch try ProductEvent(event) {
    case .registered(let registered):
      document = ProductDocument(
        sku: registered.sku.rawValue, name: registered.name, description: registered.description,
        unitPrice: registered.unitPrice, currency: registered.currency, status: "onSale",
        version: event.version.rawValue)
    case .priceChanged(let changed):
      guard document != nil else { throw ReadModelError(description: "\(event.stream) has no row") }
      document?.unitPrice = changed.unitPrice
      document?.version = event.version.rawValue
    case .discontinued:
      guard document != nil else { throw ReadModelError(description: "\(event.stream) has no row") }
      document?.status = "discontinued"
      document?.version = event.version.rawValue
    }
  }
}

/// Queries on the catalogue's read table. Answers are JSON as it is sent.
public struct CatalogueQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// One product by its normal sku; nil where there is none.
  public func product(_ sku: String) async throws -> [UInt8]? {
    try await pool.query("select document from read_models.catalogue where key = \(sku)")
      .first?.column(0, as: PostgresBytes.self).bytes
  }
}
