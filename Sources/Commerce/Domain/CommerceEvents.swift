public import EventSourcing

/// All events of the commerce back end.
public let commerceEvents = EventNames([
  Customer.self, Order.self, Product.self, Return.self, Waitlist.self, BackInStockNotices.self,
])
