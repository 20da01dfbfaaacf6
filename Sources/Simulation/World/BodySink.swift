internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Collects the body of a response. It is unchecked, since only the thread of the scheduler uses it.
final class BodySink: ResponseBodyWriter, @unchecked Sendable {
  private(set) var bytes: [UInt8] = []

  func write(_ buffer: ByteBuffer) async throws { bytes += buffer.readableBytesView }
  func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
