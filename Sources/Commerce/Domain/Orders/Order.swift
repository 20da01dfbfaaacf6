public import EventSourcing

/// An order as decisions see it.
public struct Order: Aggregate, Hashable {
  public static let category = "order"

  public enum Status: String, Sendable { case none, placed, paid, shipped, delivered, cancelled }

  public struct Line: Sendable, Hashable {
    public let placed: OrderPlaced.Line
    public internal(set) var returned: Int64 = 0

    /// What may still come back.
    public var returnable: Int64 { placed.quantity - returned }
  }

  public private(set) var status = Status.none
  public private(set) var customerID: String?
  public private(set) var country: String?
  /// They never change once it is placed.
  public private(set) var lines: [Line] = []
  /// Minor units.
  public private(set) var total: Int64 = 0

  public init() {}

  /// The products of its lines.
  public var skus: Set<SKU> { Set(lines.map(\.placed.sku)) }
  public var isShipped: Bool { status == .shipped || status == .delivered }

  public var footprint: Int {
    MemoryLayout<Self>.size + lines.reduce(64) { $0 + MemoryLayout<Line>.size + $1.placed.name.utf8.count + 16 }
  }

  /// What the lines whose stock is tracked come to, by sku and in its order.
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

/// What the lines whose stock is tracked come to, by sku and in its order.
func quantities(of lines: [OrderPlaced.Line]) -> [(sku: SKU, quantity: Int64)] {
  var sums: [SKU: Int64] = [:]
  // 100 lines of a million at most.
  for line in lines where line.tracksStock { sums[line.sku, default: 0] += line.quantity }
  return sums.sorted { $0.key.rawValue < $1.key.rawValue }.map { (sku: $0.key, quantity: $0.value) }
}

/// The sum of quantity times price; nil where it is above `Bounds.total`.
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
