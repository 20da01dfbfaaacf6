import JSON
import TestSupport
import Testing

@Suite("JSON")
struct JSONTests {
  private func parse(_ text: String) throws -> JSON { try JSON(parsing: Array(text.utf8)) }

  @Test(
    "Valid JSON is parsed and survives a round trip",
    arguments: [
      ("null", JSON.null), (" true ", true), ("[]", []), ("{}", [:]), ("-0", 0),
      ("9223372036854775807", 9_223_372_036_854_775_807),
      ("1.0", .number(1)), ("1e2", .number(100)), ("-1.5E-1", .number(-0.15)),
      ("1000e-1", .number(100)), ("0.00", .number(0)), ("-0e-5", .number(0)), ("0e99999999999", .number(0)),
      ("9007199254740993.5", .number(9_007_199_254_740_994)),
      ("9223372036854775808", .number(9.223372036854775808e18)),
      (#""\u00e9\n\"\\\/\ud83c\udf81""#, "é\n\"\\/🎁"),
      (#"{"a":[1,{"b":null}],"c":"d"}"#, ["a": [1, ["b": nil]], "c": "d"]),
    ] as [(String, JSON)])
  func reads(text: String, value: JSON) throws {
    #expect(try parse(text) == value)
    #expect(try JSON(parsing: value.encoded) == value)
  }

  @Test(
    "Invalid JSON is rejected",
    arguments: [
      "", " ", "nul", "truefalse", "[1,]", "[1 2]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "'a'", "01", "1.", ".5", "+1",
      "1e", "-",
      "\"", "\"\u{1}\"", #""\x""#, #""\u12""#, #""\ud800""#, #""\ud800\u0041""#, #""\udc00""#, #""\u0000""#, "1 2", "[",
      "1e999", "1.00000000000000000001", "99999999999999999999e-20", "1e-400", "1e-99999999999",
      #"{"a":1,"a":2}"#, String(repeating: "[", count: 100_000), "NaN", "\u{FEFF}1",
    ])
  func refuses(text: String) {
    #expect(throws: JSONError.self) { try parse(text) }
  }

  @Test("Invalid UTF-8 is rejected in names and values")
  func invalidUTF8() {
    for bytes in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22]] as [[UInt8]] {
      #expect(throws: JSONError.self) { try JSON(parsing: bytes) }
    }
  }

  @Test("A repeated member is rejected, also in a large object")
  func repeatedMember() {
    let members = (0..<40).map { "\"m\($0)\":1" } + ["\"m3\":2"]
    #expect(throws: JSONError.self) { try parse("{\(members.joined(separator: ","))}") }
  }

  @Test("Encoded values can be parsed again, including control characters", arguments: 0..<100)
  func writes(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    let value = Self.random(depth: 4, &random)
    #expect(try JSON(parsing: value.encoded) == value)
  }

  private static func random(depth: Int, _ random: inout SplitMix) -> JSON {
    switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
    case 0: return .null
    case 1: return .boolean(.random(using: &random))
    case 2: return .integer(.random(in: .min ... .max, using: &random))
    case 3, 4:
      let scalars = (0..<Int.random(in: 0..<9, using: &random)).compactMap { _ in
        Unicode.Scalar(UInt32.random(in: 1..<(Bool.random(using: &random) ? 0x80 : 0x2FFFF), using: &random))
      }
      return .string(String(String.UnicodeScalarView(scalars)))
    case 5: return .array((0..<3).map { _ in Self.random(depth: depth - 1, &random) })
    default: return .object((0..<3).map { .init("m\($0)", Self.random(depth: depth - 1, &random)) })
    }
  }
}
