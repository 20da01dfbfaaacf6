internal import Commerce
public import EventSourcing
internal import JSON
internal import Postgres
public import Projections

/// A product with its stock as queries answer it.
public struct ProductDocument: Sendable, Hashable {
  public let sku: String
  public var name: String
  public var description: String?
  public var unitPrice: Int64
  public let currency: String
  public var status: String
  public let tracksStock: Bool
  public var onHand: Int64 = 0
  public var reserved: Int64 = 0
  public var version: Int64

  public var available: Int64 { onHand - reserved }

  public var json: [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.member("sku", sku)
      json.member("name", name)
      json.member("description", orNull: description)
      json.member("unitPrice", unitPrice)
      json.member("currency", currency)
      json.member("status", status)
      json.member("stock") { json in
        guard tracksStock else { return json.writeNull() }
        json.object { json in
          json.member("onHand", onHand)
          json.member("reserved", reserved)
          json.member("available", available)
        }
      }
      json.member("version", version)
    }
    return json.bytes
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  static func parse(_ bytes: [UInt8]) throws -> ProductDocument {
    let json = try JSON(parsing: bytes)
    guard let sku = json["sku"]?.string, let name = json["name"]?.string,
      let unitPrice = json["unitPrice"]?.integer, let currency = json["currency"]?.string,
      let status = json["status"]?.string, let stock = json["stock"], let version = json["version"]?.integer
    else { throw ReadModelError(description: "a product's document is not as this build writes it") }
    return ProductDocument(
      sku: sku, name: name, description: json["description"]?.string, unitPrice: unitPrice, currency: currency,
      status: status, tracksStock: !stock.isNull, onHand: stock["onHand"]?.integer ?? 0,
      reserved: stock["reserved"]?.integer ?? 0, version: version)
  }
}

/// One row a product.
public struct CatalogueProjection: Projection {
  public let name = "catalogue"
  public let version = 3
  public let categories: Set = [Product.category]

  public let table = DocumentTable<ProductDocument>(
    "read_models.catalogue",
    columns: [
      .init("name", "text") { $0.name },
      .init("unit_price", "bigint") { $0.unitPrice },
      .init("is_on_sale", "boolean") { $0.status == "onSale" },
      // What is not tracked does not run out.
      .init("is_in_stock", "boolean") { !$0.tracksStock || $0.available > 0 },
      .init("search", "text") { SearchText.normal("\($0.sku) \($0.name)") },
      .init("details", "text") { SearchText.normal($0.description ?? "") },
    ],
    encode: { $0.json }, decode: { try ProductDocument.parse($0) })

  public init() {}

  public func apply(_ event: RecordedEvent, to document: inout ProductDocument?) throws {
    let change = try ProductEvent(event)
    if case .registered(let registered) = change {
      document = ProductDocument(
        sku: registered.sku.rawValue, name: registered.name, description: registered.description,
        unitPrice: registered.unitPrice, currency: registered.currency, status: "onSale",
        tracksStock: registered.tracksStock, version: event.version.rawValue)
      return
    }
    guard var product = document else { throw ReadModelError(description: "\(event.stream) has no row") }
    switch change {
    case .registered: break
    case .detailsChanged(let changed):
      product.name = changed.name ?? product.name
      product.description = changed.description ?? product.description
    case .priceChanged(let changed): product.unitPrice = changed.unitPrice
    case .discontinued: product.status = "discontinued"
    case .reinstated: product.status = "onSale"
    case .stockReceived(_, let quantity), .stockReturned(_, _, let quantity), .stockAdjusted(_, let quantity, _):
      product.onHand += quantity
    case .stockReserved(let moved): product.reserved += moved.quantity
    case .stockReleased(let moved): product.reserved -= moved.quantity
    case .stockShipped(let moved):
      product.onHand -= moved.quantity
      product.reserved -= moved.quantity
    }
    product.version = event.version.rawValue
    document = product
  }
}
