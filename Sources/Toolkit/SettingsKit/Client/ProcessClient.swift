package import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// Sends requests to processes over HTTP/1.1, or over https if the URL says so. Each request uses its own connection.
package final class ProcessClient: Sendable {
  /// The response of a process.
  package struct Answer: Sendable {
    /// The HTTP status.
    package let status: Int
    /// The body.
    package let body: [UInt8]
  }

  /// The reason why there is no response.
  package struct Failure: Error, CustomStringConvertible {
    /// Whether TLS failed, for instance because the server did not prove its identity.
    package let isAboutTrust: Bool
    package let description: String
  }

  private typealias Parts = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>

  private let settings: Settings
  private let isVerifying: Bool
  /// Made for the first https request: loading the system's authorities takes memory, and most processes do not need
  /// them.
  private let context = Mutex<NIOSSLContext?>(nil)

  /// Creates a client with the system's TLS settings.
  /// - Parameter isVerifying: false to accept any certificate. Only for a process on this machine's own addresses.
  /// - Throws: `SettingError` if `TLS_CA` is invalid.
  package init(_ settings: Settings, isVerifying: Bool = true) throws(SettingError) {
    (self.settings, self.isVerifying) = (settings, isVerifying)
    if try settings[ClientTLS.authorities] != nil { _ = try tls() }
  }

  /// Returns the port of a URL: the one that it names, otherwise 443 for https and 80 for http.
  package static func port(of url: URL) -> Int { url.port ?? (url.scheme == "https" ? 443 : 80) }

  private func tls() throws(SettingError) -> NIOSSLContext {
    if let known = context.withLock({ $0 }) { return known }
    let made = try ClientTLS.context(settings, isVerifying: isVerifying)
    context.withLock { $0 = made }
    return made
  }

  /// Sends one request and returns the response.
  /// - Parameters:
  ///   - method: such as `GET`.
  ///   - url: the URL, http or https.
  ///   - address: where to connect, if the URL's host name stands for several addresses.
  ///   - body: JSON to send; nil for no body.
  ///   - token: sent as a bearer token.
  ///   - bound: the time limit for connecting, and again for the request and its response.
  package func send(
    _ method: String, _ url: URL, at address: String? = nil, body: [UInt8]? = nil, token: String? = nil,
    within bound: Duration
  ) async throws(Failure) -> Answer {
    do {
      let host = (url.host ?? "").replacing("[", with: "").replacing("]", with: "")
      let channel = try await connect(host, at: address ?? host, url, bound)
      let deadline = channel.channel.eventLoop.scheduleTask(in: .nanoseconds(bound.nanoseconds)) {
        [channel = channel.channel] in
        channel.close(promise: nil)
      }
      defer { deadline.cancel() }
      let head = Self.head(method, url, host, body, token)
      return try await channel.executeThenClose { inbound, outbound in
        do {
          try await outbound.write(.head(head))
          if let body { try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: body)))) }
          try await outbound.write(.end(nil))
        } catch {
          // The connection has ended. Reading gives an early answer, or throws the reason, such as a certificate that is not trusted.
          return try await Self.answer(inbound)
        }
        return try await Self.answer(inbound)
      }
    } catch let failure as Failure {
      throw failure
    } catch {
      let distrust = ClientTLS.distrust(error)
      throw Failure(isAboutTrust: distrust != nil, description: distrust ?? "\(error)")
    }
  }

  private func connect(_ host: String, at address: String, _ url: URL, _ bound: Duration) async throws -> Parts {
    let context = url.scheme == "https" ? try tls() : nil
    // An IP address is verified against the addresses in the certificate, without a server name.
    let name = (try? SocketAddress(ipAddress: host, port: 0)) == nil ? host : nil
    return try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .connectTimeout(.nanoseconds(bound.nanoseconds))
      .connect(host: address, port: Self.port(of: url)) { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          if let context { try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name)) }
          try pipeline.addHTTPClientHandlers()
          return try Parts(wrappingChannelSynchronously: channel)
        }
      }
  }

  private static func head(_ method: String, _ url: URL, _ host: String, _ body: [UInt8]?, _ token: String?)
    -> HTTPRequestHead
  {
    let shown = host.contains(":") ? "[\(host)]" : host
    var headers: HTTPHeaders = ["Host": "\(shown):\(port(of: url))", "Connection": "close"]
    if let token { headers.add(name: "Authorization", value: "Bearer \(token)") }
    if let body {
      headers.add(name: "Content-Type", value: "application/json")
      headers.add(name: "Content-Length", value: String(body.count))
    }
    let path = url.path(percentEncoded: true)
    let query = url.query(percentEncoded: true).map { "?" + $0 } ?? ""
    return HTTPRequestHead(
      version: .http1_1, method: HTTPMethod(rawValue: method), uri: (path.isEmpty ? "/" : path) + query,
      headers: headers)
  }

  private static func answer(_ parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>) async throws -> Answer {
    var (status, body) = (0, [UInt8]())
    for try await part in parts {
      switch part {
      case .head(let head): status = Int(head.status.code)
      case .body(let bytes): body += Array(bytes.readableBytesView)
      case .end: return Answer(status: status, body: body)
      }
    }
    throw Failure(isAboutTrust: false, description: "no answer in time, or the connection ended before it was whole")
  }
}

extension Duration {
  fileprivate var nanoseconds: Int64 { Int64(self / .nanoseconds(1)) }
}
