internal import AsyncHTTPClient
internal import EventSourcing
internal import Foundation
internal import Machine
internal import NIOCore
internal import NIOHTTP1
internal import PostgresEventStore
internal import SettingsKit

/// Archive files in a bucket of S3, or of another object store with its interface.
struct S3Bucket: ArchiveStorage {
  private static let accessKey = Setting<String>(
    "AWS_ACCESS_KEY_ID", default: nil, allowed: "the id of a key", help: "The key for the bucket of the archive."
  ) { $0 }
  private static let secretKey = Setting<String>(
    "AWS_SECRET_ACCESS_KEY", default: nil, allowed: "the secret of that key", help: "The secret of AWS_ACCESS_KEY_ID.",
    isSecret: true
  ) { $0 }
  private static let region = Setting<String>(
    "AWS_REGION", default: "us-east-1", allowed: "a region", help: "The region of the bucket."
  ) { $0 }
  private static let endpoint = Setting<String>(
    "AWS_ENDPOINT_URL_S3", default: "", allowed: "a URL such as https://s3.example.org",
    help: "Another object store than Amazon's; requests name the bucket in the path."
  ) { $0 }

  /// In bytes. A larger file is sent in parts of this size, of which there may be 10,000.
  static let partSize = 64 * 1024 * 1024
  /// For one request.
  private static let timeout = TimeAmount.minutes(10)
  private static let attempts = 5

  private let bucket: String
  private let prefix: String
  private let endpoint: String
  private let host: String
  private let signature: S3Signature
  private let client: HTTPClient

  let workFolder: URL
  var location: String { "s3://\(bucket)\(prefix.isEmpty ? "" : "/" + prefix)" }

  /// - Parameter location: `s3://BUCKET` or `s3://BUCKET/PREFIX`.
  /// - Throws: `SettingError`, or `S3Error` for an invalid location or endpoint.
  init(_ location: String, _ settings: Settings) throws {
    let parts = location.dropFirst("s3://".count).split(separator: "/", omittingEmptySubsequences: true)
    guard location.hasPrefix("s3://"), let bucket = parts.first else {
      throw S3Error(description: "\(location) is not a bucket such as s3://BUCKET/PREFIX")
    }
    let region = try settings[Self.region]
    let given = try settings[Self.endpoint]
    let endpoint = given.isEmpty ? "https://s3.\(region).amazonaws.com" : given
    guard let url = URL(string: endpoint), let name = url.host, url.scheme == "https" || url.scheme == "http" else {
      throw S3Error(description: "AWS_ENDPOINT_URL_S3 is not a URL such as https://s3.example.org")
    }
    self.bucket = String(bucket)
    self.prefix = parts.dropFirst().joined(separator: "/")
    self.endpoint = endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint
    host = url.port.map { "\(name):\($0)" } ?? name
    signature = S3Signature(
      accessKey: try settings[Self.accessKey], secretKey: try settings[Self.secretKey], region: region)
    client = HTTPClient(
      eventLoopGroupProvider: .singleton,
      configuration: HTTPClient.Configuration(tlsConfiguration: try ClientTLS.configuration(settings)))
    workFolder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "counterflow-\(Machine.uuid().uuidString)")
    try FileManager.default.createDirectory(at: workFolder, withIntermediateDirectories: true)
  }

  /// Removes local copies, and closes connections.
  func close() async throws {
    try FileManager.default.removeItem(at: workFolder)
    try await client.shutdown()
  }

  func store(_ file: URL, as name: String) async throws {
    try await upload(file, as: name)
    try FileManager.default.removeItem(at: file)
  }

  private func upload(_ file: URL, as name: String) async throws {
    let handle = try FileHandle(forReadingFrom: file)
    defer { try? handle.close() }
    let first = try handle.read(upToCount: Self.partSize) ?? Data()
    guard first.count == Self.partSize else {
      _ = try await send(.PUT, name, [], Array(first))
      return
    }
    let begun = try await send(.POST, name, [("uploads", "")], [])
    let upload = try Self.element("UploadId", of: begun.body)
    var (part, number, tags) = (first, 1, [String]())
    while !part.isEmpty {
      let sent = try await send(.PUT, name, [("partNumber", "\(number)"), ("uploadId", upload)], Array(part))
      guard let tag = sent.headers.first(name: "ETag") else { throw S3Error(description: "a part has no ETag") }
      tags.append("<Part><PartNumber>\(number)</PartNumber><ETag>\(tag)</ETag></Part>")
      number += 1
      part = try handle.read(upToCount: Self.partSize) ?? Data()
    }
    let list = "<CompleteMultipartUpload>\(tags.joined())</CompleteMultipartUpload>"
    let done = try await send(.POST, name, [("uploadId", upload)], Array(list.utf8))
    // S3 may send an error after the status 200.
    guard done.body.contains("CompleteMultipartUploadResult") else {
      throw S3Error(description: "the upload of \(name) was not completed: \(done.body)")
    }
  }

  /// The next call overwrites the copy.
  func file(_ name: String) async throws -> URL {
    let target = workFolder.appendingPathComponent("copy")
    try Data().write(to: target)
    let handle = try FileHandle(forWritingTo: target)
    defer { try? handle.close() }
    let response = try await client.execute(request(.GET, name, [], []), timeout: .minutes(120))
    guard response.status == .ok else { throw try await Self.error(.GET, name, response) }
    for try await bytes in response.body { try handle.write(contentsOf: Data(bytes.readableBytesView)) }
    return target
  }

  /// Sends a request until it succeeds, or is refused. Each may be repeated: an object is written whole or not at all.
  private func send(
    _ method: HTTPMethod, _ name: String, _ query: [(String, String)], _ body: [UInt8]
  ) async throws -> (headers: HTTPHeaders, body: String) {
    var attempt = 1
    while true {
      do {
        let response = try await client.execute(request(method, name, query, body), timeout: Self.timeout)
        guard response.status == .ok else { throw try await Self.error(method, name, response) }
        return (response.headers, String(buffer: try await response.body.collect(upTo: 1024 * 1024)))
      } catch {
        if let error = error as? S3Error, !error.isTemporary { throw error }
        guard attempt < Self.attempts else { throw error }
        attempt += 1
        try await Machine.sleep(for: .seconds(attempt))
      }
    }
  }

  private func request(
    _ method: HTTPMethod, _ name: String, _ query: [(String, String)], _ body: [UInt8]
  ) -> HTTPClientRequest {
    let key = prefix.isEmpty ? name : "\(prefix)/\(name)"
    let path = "/\(bucket)/\(S3Signature.encoded(key, keepingSlashes: true))"
    var request = HTTPClientRequest(
      url: endpoint + path + (query.isEmpty ? "" : "?" + S3Signature.encoded(query)))
    request.method = method
    let headers = signature.headers(
      method.rawValue, path, query: query, headers: ["host": host], sha256: S3Signature.sha256(body),
      at: Timestamp.now)
    for (header, value) in headers { request.headers.replaceOrAdd(name: header, value: value) }
    if method != .GET { request.body = .bytes(ByteBuffer(bytes: body)) }
    return request
  }

  private static func error(
    _ method: HTTPMethod, _ name: String, _ response: HTTPClientResponse
  ) async throws -> S3Error {
    let text = String(buffer: try await response.body.collect(upTo: 1024 * 1024))
    return S3Error(
      description: "\(method.rawValue) \(name): \(response.status): \(text)",
      isTemporary: response.status.code >= 500 || response.status == .tooManyRequests)
  }

  /// Returns the text of an XML element.
  private static func element(_ name: String, of xml: String) throws -> String {
    guard let start = xml.range(of: "<\(name)>"), let end = xml.range(of: "</\(name)>"),
      start.upperBound <= end.lowerBound
    else { throw S3Error(description: "there is no \(name) in \(xml)") }
    return String(xml[start.upperBound..<end.lowerBound])
  }
}

/// The object store refused a request, or did not answer as S3 does.
struct S3Error: Error, CustomStringConvertible {
  let description: String
  var isTemporary = false
}
