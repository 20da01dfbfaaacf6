public import FoundationEssentials

extension UUID {
  /// A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds, then 74 random
  /// bits. Ids made one after the other lie close together in an index.
  public static func v7(at time: Timestamp = .now) -> UUID {
    let milliseconds = UInt64(max(0, time.microsecondsSince1970 / 1000))
    let high = milliseconds << 16 | 0x7000 | UInt64.random(in: 0..<0x1000)
    let low = UInt64(0b10) << 62 | UInt64.random(in: 0..<1 << 62)
    func byte(_ value: UInt64, _ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: value >> (56 - 8 * index)) }
    return UUID(
      uuid: (
        byte(high, 0), byte(high, 1), byte(high, 2), byte(high, 3), byte(high, 4), byte(high, 5), byte(high, 6),
        byte(high, 7), byte(low, 0), byte(low, 1), byte(low, 2), byte(low, 3), byte(low, 4), byte(low, 5),
        byte(low, 6), byte(low, 7)
      ))
  }
}
