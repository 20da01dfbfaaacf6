internal import Commerce
internal import EventSourcing
public import Projections

/// A product with its stock: a row of the catalogue.
public struct ProductRow: Codable, Sendable, Hashable {
  public struct Stock: Codable, Sendable, Hashable {
    public private(set) var onHand: Int64 = 0
    public private(set) var reserved: Int64 = 0
    public private(set) var available: Int64 = 0

    mutating func change(onHand: Int64 = 0, reserved: Int64 = 0) {
      self.onHand += onHand
      self.reserved += reserved
      available = self.onHand - self.reserved
    }
  }

  public let sku: String
  public var name: String
  public var description: String?
  /// Minor units.
  public var unitPrice: Int64
  public let currency: String
  public var status: String
  /// nil if stock is not tracked.
  public var stock: Stock?
  public var version: Int64
}

/// The read model of products: one row per product.
public struct Catalogue: ReadModel {
  public let name = "catalogue"
  public let version = 1

  public let columns = [
    Column<ProductRow>("name", \.name), Column("unit_price", \.unitPrice),
    Column("is_on_sale") { $0.status == "onSale" },
    // Without tracking, a product is always in stock.
    Column("is_in_stock") { $0.stock.map { $0.available > 0 } ?? true },
    Column.search("search") { "\($0.sku) \($0.name)" }, Column.search("details") { $0.description ?? "" },
  ]

  public let indexes = [Index("name", "key"), Index("unit_price", "key")]

  public let sources = [
    RowSource<ProductRow>(Product.self) { event, row in
      if case .registered(let registered) = event.event {
        row = ProductRow(
          sku: registered.sku.rawValue, name: registered.name, description: registered.description,
          unitPrice: registered.unitPrice, currency: registered.currency, status: "onSale",
          stock: registered.tracksStock ? ProductRow.Stock() : nil, version: event.version.rawValue)
        return
      }
      guard var product = row else { throw MissingRow() }
      switch event.event {
      case .registered: break
      case .detailsChanged(let changed):
        product.name = changed.name ?? product.name
        product.description = changed.description ?? product.description
      case .priceChanged(let changed): product.unitPrice = changed.unitPrice
      case .discontinued: product.status = "discontinued"
      case .reinstated: product.status = "onSale"
      case .stockReceived(_, let quantity), .stockReturned(_, _, let quantity), .stockAdjusted(_, let quantity, _):
        product.stock?.change(onHand: quantity)
      case .stockReserved(let moved): product.stock?.change(reserved: moved.quantity)
      case .stockReleased(let moved): product.stock?.change(reserved: -moved.quantity)
      case .stockShipped(let moved): product.stock?.change(onHand: -moved.quantity, reserved: -moved.quantity)
      }
      product.version = event.version.rawValue
      row = product
    }
  ]

  public init() {}
}
