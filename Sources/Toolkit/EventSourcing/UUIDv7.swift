public import FoundationEssentials
internal import Machine

extension UUID {
  /// Returns a UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds, 12 bits of the fraction
  /// of the millisecond (section 6.2, method 3), and 62 random bits. Ids made one after another are close together in
  /// an index.
  public static func v7(at time: Timestamp = .now) -> UUID {
    let (milliseconds, micros) = UInt64(max(0, time.microsecondsSince1970)).quotientAndRemainder(dividingBy: 1000)
    let high = milliseconds << 16 | 0x7000 | micros * 4096 / 1000
    let low = UInt64(0b10) << 62 | Machine.chance.next() >> 2
    return UUID(uuid: unsafeBitCast((high.bigEndian, low.bigEndian), to: uuid_t.self))
  }
}
