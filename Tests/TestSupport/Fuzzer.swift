internal import Foundation
public import JSON

/// Fuzz inputs from a seed: random bytes, and valid inputs with a few changes.
///
/// Each run prints its seed at the start, because a trap leaves no time for it later. `FUZZ_SEED=N` repeats a run,
/// `FUZZ_COUNT=N` changes its number of inputs.
public struct Fuzzer {
  public static let seed: UInt64 = {
    let seed = TestEnvironment.variables["FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: 0..<1_000_000_000)
    FileHandle.standardError.write(Data("fuzzing with FUZZ_SEED=\(seed)\n".utf8))
    return seed
  }()

  /// The number of inputs of each test.
  public static let count = TestEnvironment.variables["FUZZ_COUNT"].flatMap { Int($0) } ?? 10_000

  /// Pieces of JSON, and bytes at the limits of what is valid.
  private static let pieces: [[UInt8]] =
    [
      "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "\\udc00", "\\u00e9", "null", "true", "-", "0",
      "-0", "1.0", "1e2", "1e999", "1e-999", "9223372036854775808", "-9223372036854775808", ".", "..", "e", "\u{FEFF}",
      "\u{10FFFF}", " ", "\n", String(repeating: "[", count: 70),
    ].map { Array($0.utf8) } + [[0], [0x1F], [0x7F], [0x80], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xFF]]

  public var random: SplitMix

  public init(_ salt: UInt64 = 0) { random = SplitMix(state: Self.seed &+ salt &* 0x9e37_79b9_7f4a_7c15) }

  /// Random bytes, or one of the valid inputs with a few changes.
  public mutating func bytes(like valid: [[UInt8]]) -> [UInt8] {
    guard Int.random(in: 0..<10, using: &random) > 0 else {
      return (0..<Int.random(in: 0...64, using: &random)).map { _ in .random(in: 0...255, using: &random) }
    }
    var bytes = valid.randomElement(using: &random)!
    for _ in 0..<Int.random(in: 1...4, using: &random) { change(&bytes) }
    return bytes
  }

  private mutating func change(_ bytes: inout [UInt8]) {
    let place = Int.random(in: 0...bytes.count, using: &random)
    let end = min(bytes.count, place + Int.random(in: 0...8, using: &random))
    switch Int.random(in: 0..<6, using: &random) {
    case 0: bytes.insert(contentsOf: Self.pieces.randomElement(using: &random)!, at: place)
    case 1: bytes.replaceSubrange(place..<end, with: Self.pieces.randomElement(using: &random)!)
    case 2: bytes.removeSubrange(place..<end)
    case 3: bytes.insert(contentsOf: bytes[place..<end], at: Int.random(in: 0...bytes.count, using: &random))
    case 4: bytes.removeSubrange(place...)
    default: if place < bytes.count { bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random) }
    }
  }

  /// The value with one part of it replaced, removed or renamed.
  public mutating func changed(_ json: JSON) -> JSON {
    guard Int.random(in: 0..<4, using: &random) > 0 else { return value(depth: 2) }
    switch json {
    case .object(var members) where !members.isEmpty:
      let place = members.indices.randomElement(using: &random)!
      switch Int.random(in: 0..<6, using: &random) {
      case 0: members.remove(at: place)
      case 1: members[place] = JSON.Member(text(), members[place].value)
      default: members[place] = JSON.Member(members[place].name, changed(members[place].value))
      }
      return .object(members)
    case .array(var elements) where !elements.isEmpty:
      let place = elements.indices.randomElement(using: &random)!
      switch Int.random(in: 0..<6, using: &random) {
      case 0: elements.remove(at: place)
      case 1: elements += Array(repeating: elements[place], count: Int.random(in: 1...120, using: &random))
      default: elements[place] = changed(elements[place])
      }
      return .array(elements)
    default: return value(depth: 2)
    }
  }

  private mutating func value(depth: Int) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &random) {
    case 0: .null
    case 1: .boolean(.random(using: &random))
    case 2:
      .integer(
        [0, 1, -1, 1_000_000, .max, .min, .random(in: .min ... .max, using: &random)].randomElement(using: &random)!)
    case 3: .number([0.5, -0.0, 1, 100, 1e15, 1e300, -1e300, .leastNonzeroMagnitude].randomElement(using: &random)!)
    case 4, 5: .string(text())
    case 6: .array((0..<2).map { _ in value(depth: depth - 1) })
    default: .object([JSON.Member(text(), value(depth: depth - 1))])
    }
  }

  public mutating func text() -> String {
    let texts = [
      "", " ", ".", "..", "A", "a-b", "LANTERN", "\u{1}", "\u{FEFF}", "é", "e\u{301}", "👨‍👩‍👧", "\u{202E}", "a@b",
      "@",
      "2026-11-21T09:30:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", "lines",
      "sku", "quantity", String(repeating: "x", count: 2001), String(repeating: "👍", count: 200),
    ]
    return texts.randomElement(using: &random)!
  }
}
