public import EventSourcing

/// The state of a product and its stock, for decisions.
public struct Product: SnapshottingAggregate, Hashable {
  public static let category = "product"
  /// The stream can be long: if stock is tracked, every order of the product adds an event to it.
  public static let snapshotPolicy = SnapshotPolicy(every: 500, schemaVersion: 2)

  /// Empty before the product is registered.
  public private(set) var name = ""
  public private(set) var description: String?
  /// Minor units; 0 before the product is registered.
  public private(set) var unitPrice: Int64 = 0
  public private(set) var isRegistered = false
  public private(set) var isDiscontinued = false
  public private(set) var tracksStock = false
  /// The quantity in the warehouse, including reserved stock. Never less than `reserved`.
  public private(set) var onHand: Int64 = 0
  /// The quantity reserved for orders that are not shipped yet.
  public private(set) var reserved: Int64 = 0

  public init() {}

  public var isOnSale: Bool { isRegistered && !isDiscontinued }
  /// The quantity that new orders can reserve.
  public var available: Int64 { onHand - reserved }
  /// Whether an order of one piece would be accepted.
  public var isAvailable: Bool { isOnSale && (!tracksStock || available > 0) }
  public var footprint: Int { MemoryLayout<Self>.size + name.utf8.count + (description?.utf8.count ?? 0) }

  public mutating func apply(_ event: ProductEvent) {
    switch event {
    case .registered(let event):
      (name, description, unitPrice) = (event.name, event.description, event.unitPrice)
      (isRegistered, tracksStock) = (true, event.tracksStock)
    case .detailsChanged(let event): (name, description) = (event.name ?? name, event.description ?? description)
    case .priceChanged(let event): unitPrice = event.unitPrice
    case .discontinued: isDiscontinued = true
    case .reinstated: isDiscontinued = false
    // Decisions check the sums. Folding uses wrapping operators, so that it never traps.
    case .stockReceived(_, let quantity), .stockReturned(_, _, let quantity), .stockAdjusted(_, let quantity, _):
      onHand &+= quantity
    case .stockReserved(let moved): reserved &+= moved.quantity
    case .stockReleased(let moved): reserved &-= moved.quantity
    case .stockShipped(let moved):
      onHand &-= moved.quantity
      reserved &-= moved.quantity
    }
  }
}
