import Commerce
import CommerceReactions
import EventSourcing
import Testing

@Suite("Mails to customers")
struct CustomerMailTests {
  private func order(_ lines: [OrderPlaced.Line], currency: String = "GBP") -> OrderPlaced {
    OrderPlaced(
      orderID: "order-1", customerID: "ada", country: nil, lines: lines, total: lines.reduce(0) { $0 + $1.total },
      currency: currency, placedAt: Timestamp(microsecondsSince1970: 0))
  }

  private func line(_ name: String, quantity: Int64 = 1, price: Int64 = 339) -> OrderPlaced.Line {
    .init(sku: SKU("LANTERN")!, name: name, quantity: quantity, unitPrice: price, tracksStock: false)
  }

  @Test("A confirmation lists every line and the total, as text and as HTML")
  func confirmation() {
    let mail = CustomerMail.confirmation(of: order([line("Metal lantern", quantity: 6), line("Case", price: 5)]))
    #expect(mail.subject == "Your order order-1")
    #expect(
      mail.text == """
        Thank you. We have received your order order-1:

        - 6 × Metal lantern (LANTERN), 3.39 GBP each: 20.34 GBP
        - 1 × Case (LANTERN), 0.05 GBP each: 0.05 GBP

        Total: 20.39 GBP

        """)
    #expect(
      mail.html == """
        <!DOCTYPE html>
        <html lang="en">
        <head><meta charset="utf-8"><title>Your order order-1</title></head>
        <body>
        <p>Thank you. We have received your order order-1:</p>
        <ul>
        <li>6 × Metal lantern (LANTERN), 3.39 GBP each: 20.34 GBP</li>
        <li>1 × Case (LANTERN), 0.05 GBP each: 0.05 GBP</li>
        </ul>
        <p>Total: 20.39 GBP</p>
        </body>
        </html>

        """)
  }

  @Test("A shipment names the carrier and the tracking code, as far as they are known")
  func shipment() {
    func text(_ carrier: String?, _ code: String?) -> String {
      CustomerMail.shipment(of: OrderShipped(orderID: "order-1", carrier: carrier, trackingCode: code)).text
    }
    #expect(
      text("Post", "AB 12") == "We have shipped your order order-1.\n\n- Carrier: Post\n- Tracking code: AB 12\n")
    #expect(text(nil, "AB 12") == "We have shipped your order order-1.\n\n- Tracking code: AB 12\n")
    #expect(text(nil, nil) == "We have shipped your order order-1.\n")
    let mail = CustomerMail.shipment(of: OrderShipped(orderID: "order-1", carrier: "Post", trackingCode: nil))
    #expect(mail.subject == "Your order order-1 is on its way")
    #expect(mail.html.contains("<li>Carrier: Post</li>"))
  }

  @Test("A product that is back in stock is named in the subject and in both parts")
  func backInStock() {
    let mail = CustomerMail.backInStock(SKU("LANTERN")!, name: "Metal lantern")
    #expect(mail.subject == "Metal lantern is back in stock")
    #expect(mail.text.hasPrefix("Metal lantern (LANTERN) is available again.\n"))
    #expect(mail.html.contains("<p>Metal lantern (LANTERN) is available again.</p>"))
  }

  @Test("A product's name is neither markup in HTML nor a second line in a subject or a text")
  func names() {
    let mail = CustomerMail.backInStock(SKU("LANTERN")!, name: "<b>\"A&B\"</b>\r\nBcc: x")
    #expect(mail.subject == "<b>\"A&B\"</b>  Bcc: x is back in stock")
    #expect(mail.text.hasPrefix("<b>\"A&B\"</b>  Bcc: x (LANTERN) is available again.\n"))
    #expect(mail.html.contains("<p>&lt;b&gt;&quot;A&amp;B&quot;&lt;/b&gt;  Bcc: x (LANTERN) is available again.</p>"))
    #expect(!mail.html.contains("<b>"))
  }

  @Test(
    "Amounts have the decimals of their currency",
    arguments: [
      (1250, "GBP", "12.50 GBP"), (5, "GBP", "0.05 GBP"), (0, "GBP", "0.00 GBP"), (1250, "JPY", "1250 JPY"),
      (0, "JPY", "0 JPY"), (1250, "KWD", "1.250 KWD"), (7, "CLF", "0.0007 CLF"), (-1250, "GBP", "-12.50 GBP"),
      (-5, "GBP", "-0.05 GBP"), (.max, "GBP", "92233720368547758.07 GBP"), (.min, "JPY", "-9223372036854775808 JPY"),
    ] as [(Int64, String, String)])
  func amounts(minorUnits: Int64, currency: String, text: String) {
    #expect(Currency.text(of: minorUnits, in: currency) == text)
  }
}
