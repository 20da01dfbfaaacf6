internal import Commerce
internal import EventSourcing
internal import Logging
public import Reactions
internal import SMTP

/// Sends mails to customers: when their order was placed, when it was shipped, and when a product that they asked about is
/// available again. A customer without an address, or whose personal data was erased, gets none.
///
/// The address is opened when the mail is sent. It is neither stored nor logged.
public struct CustomerMails: Effect {
  public enum Recipient: Sendable, Hashable {
    case customer(String)
    /// Whoever placed the order.
    case buyer(order: String)
  }

  public struct Call: Sendable, Hashable {
    public let recipient: Recipient
    public let mail: CustomerMail

    public init(to recipient: Recipient, _ mail: CustomerMail) {
      self.recipient = recipient
      self.mail = mail
    }
  }

  public let name = "customer-mail"
  private let sender: MailSender?

  /// - Parameter sender: nil to send nothing. What happens meanwhile leads to no mail later either.
  public init(_ sender: MailSender?) { self.sender = sender }

  public var limits: EffectLimits {
    var limits = EffectLimits()
    if let sender { limits.timeLimit = sender.timeout + .seconds(5) }
    // As long as mail servers keep trying: two to three days with pauses of up to five minutes.
    limits.attempts = 1_000
    return limits
  }

  public var triggers: [EffectTrigger<Call>] {
    [
      EffectTrigger(Order.self) { [isOn = sender != nil] event, calls in
        guard isOn else { return }
        switch event.event {
        case .placed(let order):
          guard let customerID = order.customerID else { return }
          calls.make(Call(to: .customer(customerID), .confirmation(of: order)))
        case .shipped(let order): calls.make(Call(to: .buyer(order: order.orderID), .shipment(of: order)))
        case .paid, .delivered, .cancelled, .itemsReturned: return
        }
      },
      EffectTrigger(BackInStockNotices.self) { [isOn = sender != nil] event, calls in
        guard isOn, case .noticed(let notice) = event.event else { return }
        calls.make(Call(to: .customer(notice.customerID), .backInStock(notice.sku, name: notice.name)))
      },
    ]
  }

  public func perform(_ call: Call, _ context: EffectContext) async throws {
    // Without a sender there are no calls.
    guard let sender else { return }
    guard let address = try await address(of: call.recipient, context) else { return sender.count(.noAddress) }
    let mailbox: Mailbox
    do { mailbox = try Mailbox(address: address) } catch {
      // No attempt can help, and nobody can but the customer: the order's later mails must not wait for that.
      context.logger.warning("SMTP cannot carry the customer's address: no mail is sent")
      return sender.count(.unusableAddress)
    }
    try await sender.send(call.mail, to: mailbox, context)
  }

  private func address(of recipient: Recipient, _ context: EffectContext) async throws -> String? {
    let customerID: String? =
      switch recipient {
      case .customer(let id): id
      case .buyer(let order): try await context.load(Order.self, order).customerID
      }
    guard let customerID else { return nil }
    return try await context.load(CustomerContact.self, customerID).email(of: customerID, context)
  }
}
