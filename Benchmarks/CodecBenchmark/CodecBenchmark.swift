import Commerce
import EventSourcing
import Foundation
import JSON

/// Compares the cost of synthesised codecs with codecs written by hand, in events per second on one thread.
///
///     codec-benchmark [SECONDS]
///
/// Each codec runs five times for SECONDS (default 0.5); the median counts.
@main
struct CodecBenchmark {
  static func main() throws {
    let seconds = CommandLine.arguments.dropFirst().first.flatMap(Double.init) ?? 0.5
    let placed = OrderPlaced(
      orderID: "01a21a02-89a8-716c-95a4-feba891252c8", customerID: "customer-17", country: "France",
      lines: [.init(sku: SKU("LANTERN")!, name: "Lantern", quantity: 1, unitPrice: 339, tracksStock: false)],
      total: 339, currency: "GBP", placedAt: Timestamp("2026-11-24T10:00:00.123456Z")!)
    let paid = OrderPaid(orderID: "01a21a02-89a8-716c-95a4-feba891252c8", amount: 339, reference: "p-1")
    for (name, event) in [("OrderPlaced", OrderEvent.placed(placed)), ("OrderPaid", .paid(paid))] {
      var json = JSONWriter()
      _ = try event.encode(into: &json)
      let bytes = json.bytes
      var byHand = JSONWriter()
      ByHand.encode(event, into: &byHand)
      let read = try JSON(parsing: bytes)
      let (one, other) = (try ByHand.decode(name, read), try read.decode(OrderEvent.self, case: name))
      precondition(byHand.bytes == bytes && one == event && other == event, "the codecs differ")
      try compare("\(name) written", for: seconds) {
        var json = JSONWriter()
        ByHand.encode(event, into: &json)
      } synthesised: {
        var json = JSONWriter()
        _ = try event.encode(into: &json)
      }
      try compare("\(name) read, parsing included", for: seconds) {
        _ = try ByHand.decode(name, JSON(parsing: bytes))
      } synthesised: {
        _ = try JSON(parsing: bytes).decode(OrderEvent.self, case: name)
      }
    }
  }

  private static func compare(
    _ what: String, for seconds: Double, byHand: () throws -> Void, synthesised: () throws -> Void
  ) rethrows {
    var rates: [(Double, Double)] = []
    for _ in 0..<5 { rates.append((try rate(seconds, byHand), try rate(seconds, synthesised))) }
    let (hand, other) = (rates.map(\.0).sorted()[2], rates.map(\.1).sorted()[2])
    let ratio = rates.map { $0.0 / $0.1 }.sorted()[2]
    print(
      "\(what): by hand \(Int(hand)) a second, synthesised \(Int(other)), \(String(format: "%.2f", ratio)) times the cost"
    )
  }

  private static func rate(_ seconds: Double, _ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    var count = 0
    while ContinuousClock.now - start < .seconds(seconds) {
      for _ in 0..<1_000 { try body() }
      count += 1_000
    }
    return Double(count) / ((ContinuousClock.now - start) / .seconds(1))
  }
}

/// The codecs of two events, written by hand.
private enum ByHand {
  static func encode(_ event: OrderEvent, into json: inout JSONWriter) {
    json.object { json in
      switch event {
      case .placed(let event):
        json.member("orderId", event.orderID)
        json.member("customerId", ifPresent: event.customerID)
        json.member("country", ifPresent: event.country)
        json.member("lines") { json in
          json.array(event.lines) { json, line in
            json.object { json in
              json.member("sku", line.sku.rawValue)
              json.member("name", line.name)
              json.member("quantity", line.quantity)
              json.member("unitPrice", line.unitPrice)
              json.member("tracksStock", line.tracksStock)
            }
          }
        }
        json.member("total", event.total)
        json.member("currency", event.currency)
        json.member("placedAt", event.placedAt.description)
      case .paid(let event):
        json.member("orderId", event.orderID)
        json.member("amount", event.amount)
        json.member("reference", ifPresent: event.reference)
      default: break
      }
    }
  }

  /// `OrderEvent.decode` already decodes `OrderPlaced` by hand.
  static func decode(_ name: String, _ data: JSON) throws -> OrderEvent? {
    guard name == "OrderPaid" else { return try OrderEvent.decode(name, data) }
    guard let orderID = data["orderId"]?.string, let amount = data["amount"]?.integer else { return nil }
    return .paid(OrderPaid(orderID: orderID, amount: amount, reference: data["reference"]?.string))
  }
}
