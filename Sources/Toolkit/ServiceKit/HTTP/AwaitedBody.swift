internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import NIOHTTPTypes
internal import Synchronization

/// A body that the client holds back until it is asked to send it (`Expect: 100-continue`, RFC 9110, section 10.1.1). Whoever
/// begins to read asks; where nobody does, as for a request without a right, the client need not send it.
final class AwaitedBody: AsyncSequence, Sendable {
  typealias Element = ByteBuffer

  private let body: RequestBody
  private let channel: any Channel
  private let isAskedFor = Atomic(false)

  /// nil where the client waits for nothing.
  init?(of request: Request, _ channel: any Channel) {
    let hasBody = request.headers[.contentLength].map { $0 != "0" } ?? (request.headers[.transferEncoding] != nil)
    guard hasBody, request.headers[.expect] != nil else { return nil }
    (body, self.channel) = (request.body, channel)
  }

  /// False where the client still waits: it may send the body or not, so that nothing more can be read.
  var wasAskedFor: Bool { isAskedFor.load(ordering: .relaxed) }

  func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self, iterator: body.makeAsyncIterator()) }

  private func ask() async throws {
    guard !isAskedFor.exchange(true, ordering: .relaxed) else { return }
    // The answers to earlier requests are written already: requests of a connection are carried out one after the other.
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
