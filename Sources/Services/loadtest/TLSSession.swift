import NIOCore
import NIOEmbedded
import NIOSSL
import NIOTLS
import SettingsKit

/// TLS between a connection and its socket: NIOSSL's client in an embedded channel. It belongs to the driver's thread.
final class TLSSession {
  struct Failed: Error { let reason: String }

  private let channel = EmbeddedChannel()
  private let observer = Observer()
  var isEstablished: Bool { observer.isEstablished }

  /// - Parameter name: the name that the server must prove; nil for its address.
  init(_ context: NIOSSLContext, name: String?, address: SocketAddress) throws(Failed) {
    try Self.run {
      try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
      try channel.pipeline.syncOperations.addHandler(observer)
      // Starts the handshake.
      channel.connect(to: address, promise: nil)
      try channel.throwIfErrorCaught()
    }
  }

  func encrypt(_ bytes: [UInt8]) throws(Failed) { try Self.run { try channel.writeOutbound(ByteBuffer(bytes: bytes)) } }

  /// - Returns: the decrypted bytes.
  func decrypt(_ bytes: ArraySlice<UInt8>) throws(Failed) -> [UInt8] {
    try Self.run {
      try channel.writeInbound(ByteBuffer(bytes: bytes))
      var clear: [UInt8] = []
      while let buffer = try channel.readInbound(as: ByteBuffer.self) { clear += buffer.readableBytesView }
      return clear
    }
  }

  /// Returns the encrypted bytes that must be sent now.
  func takeEncrypted() throws(Failed) -> [UInt8] {
    try Self.run {
      var bytes: [UInt8] = []
      while let buffer = try channel.readOutbound(as: ByteBuffer.self) { bytes += buffer.readableBytesView }
      return bytes
    }
  }

  @discardableResult
  private static func run<Value>(_ body: () throws -> Value) throws(Failed) -> Value {
    do { return try body() } catch { throw Failed(reason: ClientTLS.distrust(error) ?? "TLS failed: \(error)") }
  }

  private final class Observer: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    var isEstablished = false

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
      if case .handshakeCompleted? = event as? TLSUserEvent { isEstablished = true }
      context.fireUserInboundEventTriggered(event)
    }
  }
}
