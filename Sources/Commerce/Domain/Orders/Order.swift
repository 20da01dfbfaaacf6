public import EventSourcing

/// The state of an order, for decisions.
public struct Order: SnapshottingAggregate, Hashable {
  public static let category = "order"
  /// No order is that long. The archive of events needs a snapshot of each order.
  public static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1)

  public enum Status: String, Codable, Sendable { case none, placed, paid, shipped, delivered, cancelled }

  public struct Line: Codable, Sendable, Hashable {
    public let placed: OrderPlaced.Line
    public internal(set) var returned: Int64 = 0

    /// The quantity that can still be returned.
    public var returnable: Int64 { placed.quantity - returned }
  }

  public private(set) var status = Status.none
  public private(set) var customerID: String?
  public private(set) var country: String?
  /// The lines never change after the order is placed.
  public private(set) var lines: [Line] = []
  /// Minor units.
  public private(set) var total: Int64 = 0

  public init() {}

  /// The SKUs of the lines.
  public var skus: Set<SKU> { Set(lines.map(\.placed.sku)) }
  public var isShipped: Bool { status == .shipped || status == .delivered }

  public var footprint: Int {
    MemoryLayout<Self>.size + lines.reduce(64) { $0 + MemoryLayout<Line>.size + $1.placed.name.utf8.count + 16 }
  }

  /// The quantity of each SKU in the lines whose stock is tracked, sorted by SKU.
  public var tracked: [(sku: SKU, quantity: Int64)] { quantities(of: lines.map(\.placed)) }

  public mutating func apply(_ event: OrderEvent) {
    switch event {
    case .placed(let event):
      (status, customerID, country, total) = (.placed, event.customerID, event.country, event.total)
      lines = event.lines.map { Line(placed: $0) }
    case .paid: status = .paid
    case .shipped: status = .shipped
    case .delivered: status = .delivered
    case .cancelled: status = .cancelled
    case .itemsReturned(let event):
      for item in event.items where lines.indices.contains(item.line) { lines[item.line].returned += item.quantity }
    }
  }
}

/// Returns the quantity of each SKU in the lines whose stock is tracked, sorted by SKU.
func quantities(of lines: [OrderPlaced.Line]) -> [(sku: SKU, quantity: Int64)] {
  var sums: [SKU: Int64] = [:]
  // No overflow: at most 100 lines of a million each.
  for line in lines where line.tracksStock { sums[line.sku, default: 0] += line.quantity }
  return sums.sorted { $0.key.rawValue < $1.key.rawValue }.map { (sku: $0.key, quantity: $0.value) }
}

/// Returns the sum of quantity times price, or nil if it is above `Bounds.total`.
func total(_ amounts: [(quantity: Int64, unitPrice: Int64)]) -> Int64? {
  var total: Int64 = 0
  for amount in amounts {
    let (product, productOverflows) = amount.quantity.multipliedReportingOverflow(by: amount.unitPrice)
    let (sum, sumOverflows) = total.addingReportingOverflow(product)
    guard !productOverflows && !sumOverflows else { return nil }
    total = sum
  }
  return total <= Bounds.total.upperBound ? total : nil
}
