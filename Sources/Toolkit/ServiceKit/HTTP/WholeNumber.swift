extension Int64 {
  /// A whole number in a header or a parameter: digits alone, without a sign or a 0 before them.
  public init?(digits text: some StringProtocol) {
    guard let value = Int64(text), value >= 0, String(value) == text else { return nil }
    self = value
  }
}
