internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import NIOHTTPTypes
internal import Synchronization

/// A body that the client sends only once the server asks for it (`Expect: 100-continue`, RFC 9110, section 10.1.1).
/// The first read asks. If nothing reads the body, as for a request without a right, the client need not send it.
final class AwaitedBody: AsyncSequence, Sendable {
  typealias Element = ByteBuffer

  private let body: RequestBody
  private let channel: any Channel
  private let isAskedFor = Atomic(false)

  /// Returns nil if the client does not wait.
  init?(of request: Request, _ channel: any Channel) {
    let hasBody = request.headers[.contentLength].map { $0 != "0" } ?? (request.headers[.transferEncoding] != nil)
    guard hasBody, request.headers[.expect] != nil else { return nil }
    (body, self.channel) = (request.body, channel)
  }

  /// False while the client still waits. It may then send the body or not, so nothing more can be read.
  var wasAskedFor: Bool { isAskedFor.load(ordering: .relaxed) }

  func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self, iterator: body.makeAsyncIterator()) }

  private func ask() async throws {
    guard !isAskedFor.exchange(true, ordering: .relaxed) else { return }
    // The responses to earlier requests are already written: a connection handles one request at a time.
    try await channel.writeAndFlush(HTTPResponsePart.head(HTTPResponse(status: .continue))).get()
  }

  struct AsyncIterator: AsyncIteratorProtocol {
    let body: AwaitedBody
    var iterator: RequestBody.AsyncIterator

    mutating func next() async throws -> ByteBuffer? {
      try await body.ask()
      return try await iterator.next()
    }
  }
}
