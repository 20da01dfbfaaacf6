import Commerce
import CommerceReactions
import CounterflowTesting
import EventSourcing
import Reactions
import SettingsKit
import TestSupport
import Testing

@Suite("Which events lead to mails")
struct CustomerMailsTests {
  private func mails(_ variables: [String: String] = ["SMTP_URL": "smtp://127.0.0.1:1"]) throws -> CustomerMails {
    CustomerMails(try MailSender(Settings(variables)))
  }

  private func order(of customerID: String?) -> OrderPlaced {
    OrderPlaced(
      orderID: "o", customerID: customerID, country: nil,
      lines: [.init(sku: SKU("LANTERN")!, name: "Lantern", quantity: 2, unitPrice: 5, tracksStock: false)], total: 10,
      currency: "GBP", placedAt: Timestamp(microsecondsSince1970: 0))
  }

  private let shipped = OrderShipped(orderID: "o", carrier: "Post", trackingCode: "AB 12")

  @Test("An order is confirmed to its customer, and so is its shipment")
  func orders() throws {
    let placed = try given(Order.self, id: "o", .placed(order(of: "ada")))
    try placed.on(mails()).thenCalls(.init(to: .customer("ada"), .confirmation(of: order(of: "ada"))))
    try placed.and(Order.self, id: "o", .shipped(shipped)).on(mails())
      .thenCalls(.init(to: .buyer(order: "o"), .shipment(of: shipped)))
    for quiet: OrderEvent in [
      .placed(order(of: nil)), .paid(OrderPaid(orderID: "o", amount: 10, reference: nil)), .delivered(orderID: "o"),
      .cancelled(OrderCancelled(orderID: "o", reason: nil)),
    ] {
      try placed.and(Order.self, id: "o", quiet).on(mails()).thenCalls()
    }
  }

  @Test("A notice goes to the customer who asked")
  func notices() throws {
    let sku = SKU("LANTERN")!
    let noticed = try given(
      BackInStockNotices.self, id: "LANTERN/ada",
      .noticed(BackInStockNoticed(sku: sku, name: "Lantern", customerID: "ada")))
    try noticed.on(mails()).thenCalls(.init(to: .customer("ada"), .backInStock(sku, name: "Lantern")))
    try noticed.on(mails([:])).thenCalls()
  }

  @Test("Without SMTP_URL nothing leads to a mail, and wrong settings are refused without the secret")
  func settings() throws {
    for event: OrderEvent in [.placed(order(of: "ada")), .shipped(shipped)] {
      try given(Order.self, id: "o", event).on(mails([:])).thenCalls()
    }
    #expect {
      try mails(["SMTP_URL": "smtp://shop:secret@"])
    } throws: {
      "\($0)".hasPrefix("SMTP_URL is not valid (") && "\($0)".lowercased().contains("no host")
        && !"\($0)".contains("secret")
    }
    for from in ["shop@example.org", "Shop <shop@example.org>", "Åsa's shop, Ltd. <shop@example.org>"] {
      _ = try mails(["SMTP_URL": "smtp://127.0.0.1:1", "MAIL_FROM": from])
    }
    for from in [
      "shop", "Shop shop@example.org", "<shop@example.org", "Shop <zoë@example.org>", "A\nB <a@example.org>",
    ] {
      #expect { try mails(["SMTP_URL": "smtp://127.0.0.1:1", "MAIL_FROM": from]) } throws: {
        "\($0)".hasPrefix("MAIL_FROM is")
      }
    }
  }
}
