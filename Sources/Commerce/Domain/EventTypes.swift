/// The types of all events, in alphabetical order.
public let commerceEventTypes = [
  "CustomerChanged", "CustomerRegistered", "OrderCancelled", "OrderDelivered", "OrderItemsReturned", "OrderPaid",
  "OrderPlaced", "OrderShipped", "PersonalDataErased", "ProductDetailsChanged", "ProductDiscontinued",
  "ProductPriceChanged", "ProductRegistered", "ProductReinstated", "ReturnRecorded", "StockAdjusted", "StockReceived",
  "StockReleased", "StockReserved", "StockReturned", "StockShipped",
]
