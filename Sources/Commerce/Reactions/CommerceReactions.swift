public import EventSourcing
public import Reactions
public import SettingsKit

/// The aggregates that only reactions fold.
public let commerceReactionAggregates: [any Aggregate.Type] = [CustomerContact.self]

/// Returns all reactions of the commerce back end.
/// - Parameters:
///   - paymentDeadline: how long an order may stay unpaid; nil for ever.
///   - mails: nil to send no mails to customers.
public func commerceReactions(paymentDeadline: Duration? = nil, mails: MailSender? = nil) -> [any Reacting] {
  [CancelUnpaid(after: paymentDeadline), BackInStock(), CustomerMails(mails)]
}

extension Setting where Value == Duration? {
  public static let paymentDeadline = Setting(
    "PAYMENT_DEADLINE", default: "off", allowed: "off, or seconds from 1 to 31536000",
    help:
      "How long an order may stay unpaid until it is cancelled, in seconds. It applies to orders that are placed from then on."
  ) { text in
    if text == "off" { return .some(nil) }
    return Int(text).flatMap { (1...31_536_000).contains($0) ? .some(.seconds($0)) : nil }
  }
}
