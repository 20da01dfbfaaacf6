public import EventSourcing

/// An event of a product's waiting list.
public enum WaitlistEvent: DomainEvent, Codable, Hashable {
  /// A customer asked for a notice when the product is available again.
  case requested(sku: SKU, customerID: String)
  /// These customers got their notice. Each has a `BackInStockNoticed` of its own.
  case notified(sku: SKU, customerIDs: [String])

  enum CodingKeys: String, CodingKey, CaseIterable {
    case requested = "BackInStockRequested", notified = "WaitlistNotified"
  }
  enum RequestedCodingKeys: String, CodingKey { case sku, customerID = "customerId" }
  enum NotifiedCodingKeys: String, CodingKey { case sku, customerIDs = "customerIds" }
}

/// The customers who wait for a product: the state of the process manager `BackInStock`.
public struct Waitlist: SnapshottingAggregate, Hashable {
  public static let category = "waitlist"
  public static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1)
  /// Customers who may wait for one product.
  public static let capacity = 10_000

  /// In the order in which they asked.
  public private(set) var waiting: [String] = []

  public init() {}

  public var isFull: Bool { waiting.count >= Self.capacity }
  /// An upper bound, since a sum over all of them would take long.
  public var footprint: Int {
    MemoryLayout<Self>.size + waiting.count * (MemoryLayout<String>.size + Identifier.maximumLength)
  }

  public mutating func apply(_ event: WaitlistEvent) {
    switch event {
    case .requested(_, let customerID): waiting.append(customerID)
    case .notified(_, let customerIDs):
      let notified = Set(customerIDs)
      waiting.removeAll { notified.contains($0) }
    }
  }
}

/// An event for one customer who waited for a product.
public enum BackInStockEvent: DomainEvent, Codable, Hashable {
  case noticed(BackInStockNoticed)

  enum CodingKeys: String, CodingKey, CaseIterable { case noticed = "BackInStockNoticed" }
}

/// A product that a customer asked about is available again.
public struct BackInStockNoticed: Codable, Sendable, Hashable {
  public let sku: SKU
  /// The product's name at that time.
  public let name: String
  public let customerID: String

  enum CodingKeys: String, CodingKey { case sku, name, customerID = "customerId" }

  public init(sku: SKU, name: String, customerID: String) {
    self.sku = sku
    self.name = name
    self.customerID = customerID
  }
}

/// The notices to one customer about one product. Each has a stream of its own, so that a mail which fails delays no other
/// customer's.
public struct BackInStockNotices: SnapshottingAggregate, Hashable {
  public static let category = "notice"
  public static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1)

  /// A SKU contains no `/`, so no two pairs have the same id.
  public static func id(_ sku: SKU, _ customerID: String) -> String { "\(sku)/\(customerID)" }

  public init() {}

  public mutating func apply(_ event: BackInStockEvent) {}
}
