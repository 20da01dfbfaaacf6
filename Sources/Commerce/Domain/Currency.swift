/// Facts about currencies from ISO 4217.
public enum Currency {
  /// The currencies whose minor unit does not have two decimals, including rarely used ones.
  private static let digits: [String: Int] = [
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0, "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3,
    "OMR": 3, "TND": 3, "CLF": 4, "UYW": 4,
  ]

  /// Returns the number of decimals of the currency's minor unit: 2 for GBP, 0 for JPY. The console has the same table.
  public static func minorDigits(of code: String) -> Int { digits[code] ?? 2 }

  /// Returns an amount as people read it: `12.50 GBP` for 1250 minor units.
  public static func text(of minorUnits: Int64, in code: String) -> String {
    let digits = minorDigits(of: code)
    let units = String(minorUnits.magnitude)
    let padded = String(repeating: "0", count: max(0, digits + 1 - units.utf8.count)) + units
    let whole = (minorUnits < 0 ? "-" : "") + padded.dropLast(digits)
    return digits == 0 ? "\(whole) \(code)" : "\(whole).\(padded.suffix(digits)) \(code)"
  }
}
