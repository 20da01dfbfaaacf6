internal import Crypto
internal import EventSourcing
internal import Foundation

/// Signs requests to S3: AWS Signature Version 4.
struct S3Signature: Sendable {
  let accessKey: String
  let secretKey: String
  let region: String

  /// Returns the headers to add to a request, among them `Authorization`.
  /// - Parameters:
  ///   - path: the path, percent-encoded.
  ///   - query: names and values, not encoded.
  ///   - headers: other headers that are signed, such as `host`; names in lower case.
  ///   - sha256: of the body, in hexadecimal digits.
  func headers(
    _ method: String, _ path: String, query: [(String, String)], headers: [String: String], sha256: String,
    at time: Timestamp
  ) -> [String: String] {
    let moment = String(time.fullDescription.filter { $0 != "-" && $0 != ":" }.prefix(15)) + "Z"
    let scope = "\(moment.prefix(8))/\(region)/s3/aws4_request"
    var signed = headers
    signed["x-amz-date"] = moment
    signed["x-amz-content-sha256"] = sha256
    let sorted = signed.sorted { $0.key < $1.key }
    let names = sorted.map(\.key).joined(separator: ";")
    let request = [
      method, path, Self.encoded(query), sorted.map { "\($0.key):\($0.value)\n" }.joined(), names, sha256,
    ].joined(separator: "\n")
    let text = "AWS4-HMAC-SHA256\n\(moment)\n\(scope)\n\(Self.sha256(Array(request.utf8)))"
    let parts = [String(moment.prefix(8)), region, "s3", "aws4_request", text]
    let signature = parts.reduce(Array("AWS4\(secretKey)".utf8)) { key, part in
      Array(HMAC<SHA256>.authenticationCode(for: Array(part.utf8), using: SymmetricKey(data: key)))
    }
    signed["authorization"] =
      "AWS4-HMAC-SHA256 Credential=\(accessKey)/\(scope),SignedHeaders=\(names),Signature=\(Self.hexadecimal(signature))"
    return signed
  }

  /// Returns a query string with sorted names.
  static func encoded(_ query: [(String, String)]) -> String {
    query.map { (encoded($0.0), encoded($0.1)) }.sorted { $0 < $1 }.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
  }

  /// Percent-encodes everything but unreserved characters, and slashes if they are kept.
  static func encoded(_ text: String, keepingSlashes: Bool = false) -> String {
    text.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        String(UnicodeScalar(byte))
      case UInt8(ascii: "/") where keepingSlashes: "/"
      default: "%" + hexadecimal([byte]).uppercased()
      }
    }.joined()
  }

  static func sha256(_ bytes: [UInt8]) -> String { hexadecimal(SHA256.hash(data: bytes)) }

  private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
