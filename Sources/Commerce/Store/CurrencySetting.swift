public import SettingsKit

extension StoreCurrency {
  public static let setting = Setting(
    "CURRENCY", default: "GBP", allowed: "three capital letters of ISO 4217, such as GBP",
    help: "The currency of every price. The first start stores it; a process with another currency does not start."
  ) { text in
    text.utf8.count == 3 && text.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) } ? text : nil
  }
}
