public import EventSourcing

/// A product and its stock, as decisions see them.
public struct Product: SnapshottingAggregate, Hashable {
  public static let category = "product"
  /// Every order of a product whose stock is tracked is an event of its stream.
  public static let snapshotPolicy = SnapshotPolicy(every: 500, schemaVersion: 2)

  /// Empty before it is registered.
  public private(set) var name = ""
  public private(set) var description: String?
  /// Minor units; 0 before it is registered.
  public private(set) var unitPrice: Int64 = 0
  public private(set) var isRegistered = false
  public private(set) var isDiscontinued = false
  public private(set) var tracksStock = false
  /// In the warehouse, what is reserved included; never below it.
  public private(set) var onHand: Int64 = 0
  /// Promised to orders that were not shipped yet.
  public private(set) var reserved: Int64 = 0

  public init() {}

  public var isOnSale: Bool { isRegistered && !isDiscontinued }
  /// What can still be promised.
  public var available: Int64 { onHand - reserved }
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
    // What was decided has been checked; folding never traps.
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
