internal import FoundationEssentials
internal import Machine

/// An instant in whole microseconds, as in PostgreSQL. Its text is RFC 3339 in UTC.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z: what RFC 3339 can write, except the year 0.
  public static let range =
    Timestamp(
      microsecondsSince1970: -62_135_596_800_000_000)...Timestamp(
      microsecondsSince1970: 253_402_300_799_999_999)

  /// Microseconds since 1970-01-01T00:00:00Z, without leap seconds; negative for earlier times.
  public let microsecondsSince1970: Int64

  /// Creates a time from microseconds since 1970-01-01T00:00:00Z.
  public init(microsecondsSince1970: Int64) { self.microsecondsSince1970 = microsecondsSince1970 }

  /// The time on this machine's clock.
  public static var now: Timestamp {
    Timestamp(microsecondsSince1970: Int64((Machine.date.timeIntervalSince1970 * 1_000_000).rounded(.down)))
  }

  /// Returns the instant so much later, within `range`.
  public func advanced(by duration: Duration) -> Timestamp {
    let micros = Double(microsecondsSince1970) + duration / .microseconds(1)
    let (first, last) = (Self.range.lowerBound, Self.range.upperBound)
    guard micros < Double(last.microsecondsSince1970) else { return last }
    guard micros > Double(first.microsecondsSince1970) else { return first }
    return Timestamp(microsecondsSince1970: microsecondsSince1970 + Int64((duration / .microseconds(1)).rounded()))
  }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.microsecondsSince1970 < b.microsecondsSince1970 }

  /// RFC 3339 in UTC with as many decimals as the instant needs: none, three or six.
  public var description: String {
    let micros = microsecondsSince1970.flooredDivision(by: 1_000_000).remainder
    return text(decimals: micros == 0 ? 0 : micros % 1000 == 0 ? 3 : 6)
  }

  /// RFC 3339 in UTC with six decimals.
  package var fullDescription: String { text(decimals: 6) }

  /// The day in UTC, such as 2026-11-27.
  public var date: String {
    guard Self.range.contains(self) else { return String(distantText.prefix { $0 != "T" }) }
    return String(unsafeUninitializedCapacity: 10) { bytes in
      write(date: microsecondsSince1970.flooredDivision(by: 86_400_000_000).quotient, to: bytes)
      return 10
    }
  }

  /// Writes digit by digit, because read models write several timestamps for each event.
  private func text(decimals: Int) -> String {
    guard Self.range.contains(self) else { return distantText }
    let (days, time) = microsecondsSince1970.flooredDivision(by: 86_400_000_000)
    let (seconds, micros) = time.flooredDivision(by: 1_000_000)
    return String(unsafeUninitializedCapacity: 27) { bytes in
      write(date: days, to: bytes)
      bytes[10] = UInt8(ascii: "T")
      Self.write(seconds / 3600, digits: 2, at: 11, to: bytes)
      bytes[13] = UInt8(ascii: ":")
      Self.write(seconds / 60 % 60, digits: 2, at: 14, to: bytes)
      bytes[16] = UInt8(ascii: ":")
      Self.write(seconds % 60, digits: 2, at: 17, to: bytes)
      var end = 19
      if decimals > 0 {
        bytes[end] = UInt8(ascii: ".")
        Self.write(decimals == 3 ? micros / 1000 : micros, digits: decimals, at: end + 1, to: bytes)
        end += 1 + decimals
      }
      bytes[end] = UInt8(ascii: "Z")
      return end + 1
    }
  }

  /// The text of an instant outside `range`, for people to read.
  private var distantText: String {
    let (days, time) = microsecondsSince1970.flooredDivision(by: 86_400_000_000)
    let (year, month, day) = civil(fromDays: days)
    return "\(year)-\(month)-\(day)T+\(time)us"
  }

  private func write(date days: Int64, to bytes: UnsafeMutableBufferPointer<UInt8>) {
    let (year, month, day) = civil(fromDays: days)
    Self.write(year, digits: 4, at: 0, to: bytes)
    bytes[4] = UInt8(ascii: "-")
    Self.write(month, digits: 2, at: 5, to: bytes)
    bytes[7] = UInt8(ascii: "-")
    Self.write(day, digits: 2, at: 8, to: bytes)
  }

  private static func write(
    _ value: Int64, digits: Int, at start: Int, to bytes: UnsafeMutableBufferPointer<UInt8>
  ) {
    var rest = value
    for place in stride(from: start + digits - 1, through: start, by: -1) {
      bytes[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    }
  }

  /// Parses RFC 3339 (section 5.6) with any offset. Decimals after the sixth are cut off. Returns nil for other text,
  /// and for a leap second, which PostgreSQL cannot store.
  public init?(_ text: String) {
    var scanner = Scanner(bytes: Array(text.utf8))
    guard let year = scanner.digits(4), scanner.skip("-"), let month = scanner.digits(2), scanner.skip("-"),
      let day = scanner.digits(2), scanner.skip("T") || scanner.skip("t") || scanner.skip(" "),
      let hour = scanner.digits(2), scanner.skip(":"), let minute = scanner.digits(2), scanner.skip(":"),
      let second = scanner.digits(2), year >= 1, (1...12).contains(month),
      (1...daysInMonth(month, of: year)).contains(day), hour < 24, minute < 60, second < 60
    else { return nil }
    guard let micros = scanner.fraction(), let offset = scanner.offsetMinutes(), scanner.isAtEnd else { return nil }
    let days = Timestamp.days(fromYear: year, month: month, day: day)
    let seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second
    self.init(microsecondsSince1970: seconds * 1_000_000 + micros)
    guard Self.range.contains(self) else { return nil }
  }
}

extension Timestamp: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let time = Timestamp(try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "must be a time as RFC 3339 has it")
    }
    self = time
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

private struct Scanner {
  let bytes: [UInt8]
  var offset = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }

  mutating func skip(_ character: Unicode.Scalar) -> Bool {
    guard offset < bytes.count, bytes[offset] == UInt8(ascii: character) else { return false }
    offset += 1
    return true
  }

  mutating func digit() -> Int64? {
    guard offset < bytes.count, (0x30...0x39).contains(bytes[offset]) else { return nil }
    offset += 1
    return Int64(bytes[offset - 1] - 0x30)
  }

  mutating func digits(_ count: Int) -> Int64? {
    var value: Int64 = 0
    for _ in 0..<count {
      guard let digit = digit() else { return nil }
      value = value * 10 + digit
    }
    return value
  }

  /// Returns microseconds: 0 if there is no fraction, nil if the fraction has no digit.
  mutating func fraction() -> Int64? {
    guard skip(".") else { return 0 }
    guard var value = digit() else { return nil }
    var count = 1
    while let digit = digit() {
      if count < 6 { value = value * 10 + digit }
      count += 1
    }
    for _ in min(count, 6)..<6 { value *= 10 }
    return value
  }

  mutating func offsetMinutes() -> Int64? {
    if skip("Z") || skip("z") { return 0 }
    let sign: Int64
    if skip("+") { sign = 1 } else if skip("-") { sign = -1 } else { return nil }
    guard let hours = digits(2), skip(":"), let minutes = digits(2), hours < 24, minutes < 60 else { return nil }
    return sign * (hours * 60 + minutes)
  }
}

private func daysInMonth(_ month: Int64, of year: Int64) -> Int64 {
  let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
  return month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
}

// Conversion of days from and to the proleptic Gregorian calendar, in eras of 400 years that begin in March: Howard
// Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013.
extension Timestamp {
  fileprivate static func days(fromYear year: Int64, month: Int64, day: Int64) -> Int64 {
    let (era, yearOfEra) = (month <= 2 ? year - 1 : year).flooredDivision(by: 400)
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }
}

private func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
  let (era, dayOfEra) = (days + 719_468).flooredDivision(by: 146_097)
  let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
  let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
  let shifted = (5 * dayOfYear + 2) / 153
  let month = shifted + (shifted < 10 ? 3 : -9)
  return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shifted + 2) / 5 + 1)
}

extension Int64 {
  fileprivate func flooredDivision(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
  }
}
