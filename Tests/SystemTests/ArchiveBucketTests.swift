import EventSourcing
import Foundation
import SettingsKit
import TestSupport
import Testing

@testable import Administration

@Suite("Archive files in a bucket")
struct ArchiveBucketTests {
  /// Amazon's documented examples of Signature Version 4 for S3.
  @Test("Requests are signed as Amazon documents it")
  func signature() throws {
    let signature = S3Signature(
      accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region: "us-east-1")
    let time = try #require(Timestamp("2013-05-24T00:00:00Z"))
    func expect(
      _ path: String, _ query: [(String, String)] = [], _ more: [String: String] = [:], gives expected: String
    ) {
      let headers = signature.headers(
        "GET", path, query: query, headers: ["host": "examplebucket.s3.amazonaws.com"].merging(more) { $1 },
        sha256: S3Signature.sha256([]), at: time)
      #expect(headers["authorization"]?.hasSuffix("Signature=\(expected)") == true, "\(headers)")
    }
    expect(
      "/test.txt", [], ["range": "bytes=0-9"],
      gives: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    expect("/", [("lifecycle", "")], gives: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
    expect(
      "/", [("max-keys", "2"), ("prefix", "J")],
      gives: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
  }

  @Test("Names are percent-encoded")
  func encoding() {
    #expect(S3Signature.encoded("a b/é~-_.", keepingSlashes: true) == "a%20b/%C3%A9~-_.")
    #expect(S3Signature.encoded([("b", "x y"), ("a", "1/2")]) == "a=1%2F2&b=x%20y")
  }

  @Test(
    "A file comes back from the bucket as it was, whether it is sent at once or in parts", .tags(.system),
    .enabled(
      if: ArchiveBucketTests.python != nil, "TEST_MOTO_PYTHON names a Python with moto[server]; scripts/test makes one")
  )
  func bucket() async throws {
    let python = try #require(Self.python)
    let moto = try ChildProcess(
      URL(fileURLWithPath: python), ["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
    func address() -> String? {
      moto.output.firstMatch(of: /Running on (http:\/\/[0-9.:]+)/).map { String($0.output.1) }
    }
    try await eventually("the object store listens") { address() != nil }
    let endpoint = try #require(address())
    let settings = Settings([
      "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": endpoint,
    ])
    let made = try ChildProcess(URL(fileURLWithPath: "/usr/bin/env"), ["curl", "-sfX", "PUT", "\(endpoint)/archive"])
    #expect(try await made.wait() == 0, "\(made.output)")
    let bucket = try S3Bucket("s3://archive/old events/2026", settings)
    #expect(bucket.location == "s3://archive/old events/2026")
    var large = Data(count: S3Bucket.partSize + 1_000_000)
    for index in stride(from: 0, to: large.count, by: 4_096) { large[index] = UInt8(truncatingIfNeeded: index >> 12) }
    for (name, content) in [("small.ndjson", Data("{}\n".utf8)), ("large.ndjson", large)] {
      let file = bucket.workFolder.appendingPathComponent("file")
      try content.write(to: file)
      try await bucket.store(file, as: name)
      #expect(!FileManager.default.fileExists(atPath: file.path))
      #expect(try await Data(contentsOf: bucket.file(name)) == content)
    }
    await #expect(throws: S3Error.self) { _ = try await bucket.file("none.ndjson") }
    try await bucket.close()
    #expect(!FileManager.default.fileExists(atPath: bucket.workFolder.path))
  }

  @Test("A wrong place or endpoint is refused")
  func wrong() {
    let keys = ["AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"]
    #expect(throws: S3Error.self) { _ = try S3Bucket("s3://", Settings(keys)) }
    #expect(throws: S3Error.self) {
      _ = try S3Bucket("s3://a", Settings(keys.merging(["AWS_ENDPOINT_URL_S3": "nowhere"]) { $1 }))
    }
    #expect(throws: SettingError.self) { _ = try S3Bucket("s3://a", Settings([:])) }
  }

  private static let python = ProcessInfo.processInfo.environment["TEST_MOTO_PYTHON"]
}
