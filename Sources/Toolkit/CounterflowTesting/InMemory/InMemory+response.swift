internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
public import JSON
internal import NIOCore
internal import Synchronization

extension InMemory {
  /// The response to a request.
  public struct Response: Sendable {
    /// The HTTP status.
    public let status: Int
    /// The body; null if there is none.
    public let json: JSON
    /// The body as it was sent.
    public let body: [UInt8]
    private let fields: HTTPFields

    /// The token with which a query sees what this command did; nil for other responses.
    public var token: String? { fields[.consistencyToken] }
    /// The `ETag` header; nil if there is none.
    public var entityTag: String? { fields[.eTag] }
    /// The `Location` header; nil if there is none.
    public var location: String? { fields[.location] }

    /// The name of the problem, such as `not-found`; nil if there is none.
    public var problem: String? {
      guard fields[.contentType] == "application/problem+json" else { return nil }
      return json["type"]?.string?.split(separator: ":").last.map(String.init)
    }

    /// Returns a header; nil if it is not there.
    public func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { fields[$0] } }

    /// - Throws: `JSONError` for a body that is not JSON.
    init(_ response: Hummingbird.Response) async throws {
      let writer = CollectedBody()
      try await response.body.write(writer)
      (status, fields, body) = (response.status.code, response.headers, writer.bytes.withLock { $0 })
      json = try body.isEmpty ? .null : JSON(parsing: body)
    }
  }
}

extension InMemory.Response: CustomStringConvertible {
  public var description: String { "\(status) \(String(decoding: body, as: UTF8.self))" }
}

private final class CollectedBody: ResponseBodyWriter {
  let bytes = Mutex<[UInt8]>([])

  func write(_ buffer: ByteBuffer) async throws { bytes.withLock { $0 += buffer.readableBytesView } }
  func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
