extension Int64 {
  /// Reads a whole number from a header or a parameter: digits only, without a sign or leading zeros.
  public init?(digits text: some StringProtocol) {
    guard let value = Int64(text), value >= 0, String(value) == text else { return nil }
    self = value
  }
}
