public import Commerce

/// A mail to a customer, as text and as HTML. It contains no personal data.
public struct CustomerMail: Sendable, Hashable {
  /// One line.
  public let subject: String
  public let text: String
  public let html: String

  /// Confirms that an order was placed.
  public static func confirmation(of order: OrderPlaced) -> CustomerMail {
    let lines = order.lines.map { line in
      let (each, total) = (
        Currency.text(of: line.unitPrice, in: order.currency), Currency.text(of: line.total, in: order.currency)
      )
      return "\(line.quantity) × \(line.name) (\(line.sku)), \(each) each: \(total)"
    }
    return CustomerMail(
      "Your order \(order.orderID)",
      [
        .paragraph("Thank you. We have received your order \(order.orderID):"), .list(lines),
        .paragraph("Total: \(Currency.text(of: order.total, in: order.currency))"),
      ])
  }

  /// Tells that an order is on its way, and how to follow it.
  public static func shipment(of order: OrderShipped) -> CustomerMail {
    let facts = [("Carrier", order.carrier), ("Tracking code", order.trackingCode)].compactMap { name, value in
      value.map { "\(name): \($0)" }
    }
    return CustomerMail(
      "Your order \(order.orderID) is on its way",
      [.paragraph("We have shipped your order \(order.orderID).")] + (facts.isEmpty ? [] : [.list(facts)]))
  }

  /// Tells somebody who asked for it that a product is available again.
  public static func backInStock(_ sku: SKU, name: String) -> CustomerMail {
    CustomerMail(
      "\(name) is back in stock",
      [
        .paragraph("\(name) (\(sku)) is available again."),
        .paragraph("You receive this mail because you asked to be told."),
      ])
  }

  private enum Block {
    case paragraph(String)
    case list([String])
  }

  private init(_ subject: String, _ blocks: [Block]) {
    self.subject = oneLine(subject)
    text = blocks.map(Self.text).joined(separator: "\n\n") + "\n"
    html = """
      <!DOCTYPE html>
      <html lang="en">
      <head><meta charset="utf-8"><title>\(escaped(subject))</title></head>
      <body>
      \(blocks.map(Self.html).joined(separator: "\n"))
      </body>
      </html>

      """
  }

  private static func text(_ block: Block) -> String {
    switch block {
    case .paragraph(let text): oneLine(text)
    case .list(let items): items.map { "- \(oneLine($0))" }.joined(separator: "\n")
    }
  }

  private static func html(_ block: Block) -> String {
    switch block {
    case .paragraph(let text): "<p>\(escaped(text))</p>"
    case .list(let items): "<ul>\n" + items.map { "<li>\(escaped($0))</li>\n" }.joined() + "</ul>"
    }
  }
}

/// Names of products may contain line breaks, and a subject must not.
private func oneLine(_ text: String) -> String {
  String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
}

/// Returns text that HTML shows as it is.
private func escaped(_ text: String) -> String {
  oneLine(text).reduce(into: "") { html, character in
    switch character {
    case "&": html += "&amp;"
    case "<": html += "&lt;"
    case ">": html += "&gt;"
    case "\"": html += "&quot;"
    default: html.append(character)
    }
  }
}
