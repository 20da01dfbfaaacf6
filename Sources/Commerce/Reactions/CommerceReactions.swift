public import Reactions
public import ServiceKit

/// What follows from the events of the commerce back end.
public enum CommerceReactions {
  public static let settings = [paymentDeadline.description]

  /// - Parameter settings: nil where only names and types are asked for.
  public static func all(_ settings: Settings?) throws(SettingError) -> [any Reacting] {
    [CancelUnpaid(after: try settings.map { settings throws(SettingError) in try settings[paymentDeadline] } ?? nil)]
  }

  private static let paymentDeadline = Setting<Duration?>(
    "PAYMENT_DEADLINE", default: "off", allowed: "off, or seconds from 1 to 31536000",
    help: "How long an order may stay unpaid before it is cancelled, in seconds; counts for orders placed from then on."
  ) { text in
    if text == "off" { return .some(nil) }
    return Int(text).flatMap { (1...31_536_000).contains($0) ? .some(.seconds($0)) : nil }
  }
}
