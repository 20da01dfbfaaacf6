internal import FoundationEssentials
package import Hummingbird
internal import HummingbirdCore
internal import HummingbirdTLS
package import Logging
internal import NIOCore
internal import NIOSSL
package import ServiceLifecycle
package import SettingsKit

/// Settings of the HTTP server in every process.
package enum HTTPSettings {
  /// `HTTP_HOST`: the address that HTTP listens on.
  package static let host = Setting(
    "HTTP_HOST", default: "127.0.0.1", allowed: "an address or host name to listen on",
    help: "The address that HTTP listens on."
  ) { $0.contains(where: \.isWhitespace) ? nil : $0 }

  /// `HTTP_PORT`: the port that HTTP listens on.
  /// - Parameter port: The default.
  package static func port(default port: Int) -> Setting<Int> {
    .integer("HTTP_PORT", default: port, in: 0...65_535, help: "The port that HTTP listens on; 0 takes any free one.")
  }

  /// `HTTP_MAX_CONNECTIONS`: the maximum number of open connections.
  package static let maximumConnections = Setting.integer(
    "HTTP_MAX_CONNECTIONS", default: 16_384, in: 1...1_000_000,
    help: "The maximum number of open connections; others wait to be accepted.")

  /// `HTTP_IDLE_TIMEOUT`: how long a request head may take to arrive.
  package static let idleTimeout = Setting.seconds(
    "HTTP_IDLE_TIMEOUT", default: 75, in: 0.1...3600,
    help: "How long a request head may take to arrive, in seconds; then the connection is closed.")

  /// `HTTP_REQUEST_TIMEOUT`: how long a request's body may take to arrive.
  package static let requestTimeout = Setting.seconds(
    "HTTP_REQUEST_TIMEOUT", default: 20, in: 0.1...3600,
    help: "How long the body of a request may take to arrive, in seconds; then the connection is closed.")

  /// `HTTP_ANSWER_TIMEOUT`: how long it may take to make and send an answer.
  package static let answerTimeout = Setting.seconds(
    "HTTP_ANSWER_TIMEOUT", default: 60, in: 0.1...3600,
    help: "How long it may take to make and send a response, in seconds; then the connection is closed.")

  /// `TLS_CERTIFICATE`: the server's certificate chain.
  package static let certificate = Setting.optional(
    "TLS_CERTIFICATE", allowed: "certificates in PEM, the server's own first",
    help: "The certificate chain in PEM. With it and TLS_KEY, HTTP uses TLS 1.2 or newer."
  )

  /// `TLS_KEY`: the private key of that certificate.
  package static let key = Setting.optional(
    "TLS_KEY", allowed: "a private key in PEM", help: "Of the first of TLS_CERTIFICATE.",
    isSecret: true
  )

  /// All settings of the HTTP server.
  package static let all = [
    maximumConnections.description, idleTimeout.description, requestTimeout.description, answerTimeout.description,
    certificate.description, key.description,
  ]

  /// Returns nil for HTTP without TLS.
  static func tls(_ settings: Settings) throws(SettingError) -> TLSConfiguration? {
    let (certificate, key) = (try settings[certificate], try settings[key])
    guard let certificate, let key else {
      guard certificate == nil && key == nil else {
        throw SettingError(certificate == nil ? Self.certificate : Self.key, "must be set too, or neither of them")
      }
      return nil
    }
    let (chain, own): ([NIOSSLCertificate], NIOSSLPrivateKey)
    do { chain = try NIOSSLCertificate.fromPEMBytes(Array(certificate.utf8)) } catch {
      throw SettingError(Self.certificate, "holds no certificate in PEM")
    }
    do { own = try NIOSSLPrivateKey(bytes: Array(key.utf8), format: .pem) } catch {
      throw SettingError(Self.key, "holds no private key in PEM")
    }
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(own))
    configuration.minimumTLSVersion = .tlsv12
    do { _ = try NIOSSLContext(configuration: configuration) } catch {
      throw SettingError(Self.key, "does not fit TLS_CERTIFICATE")
    }
    return configuration
  }
}

/// The HTTP server of a process.
package enum HTTPServing {
  /// The maximum bytes of one header field, the maximum bytes of all fields, and the maximum number of fields.
  static let headerLimits = HTTP1Channel.Configuration.DecoderConfiguration(
    maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024, maxHeaderFieldCount: 100)

  /// Returns a router that answers HEAD wherever it answers GET. All processes use it.
  package static func router() -> Router<ServiceContext> {
    Router(context: ServiceContext.self, options: .autoGenerateHeadEndpoints)
  }

  /// Returns an HTTP server over `responder`, as a service. At shutdown it stops accepting connections and finishes the
  /// requests in progress.
  package static func server<Responder: HTTPResponder>(
    _ responder: Responder, _ settings: Settings, port: Setting<Int>, logger: Logger
  ) throws(SettingError) -> any Service
  where Responder.Context: InitializableFromSource<ApplicationRequestContextSource> {
    let (host, port) = (try settings[HTTPSettings.host], try settings[port])
    func time(_ duration: Duration) -> TimeAmount { .milliseconds(Int64(duration / .milliseconds(1))) }
    let times = ConnectionDeadlines.Times(
      idle: time(try settings[HTTPSettings.idleTimeout]), request: time(try settings[HTTPSettings.requestTimeout]),
      answer: time(try settings[HTTPSettings.answerTimeout]))
    var builder = HTTPServerBuilder { responder in
      HTTPChannel(
        base: HTTP1Channel(
          responder: responder,
          configuration: .init(
            additionalChannelHandlers: [ConnectionDeadlines(times)], httpDecoderConfiguration: headerLimits)))
    }
    if let tls = try HTTPSettings.tls(settings) {
      do { builder = try .tls(builder, tlsConfiguration: tls) } catch {
        throw SettingError(HTTPSettings.certificate, "cannot be used")
      }
    }
    return HTTPServer(
      application: Application(
        responder: responder, server: builder,
        configuration: ApplicationConfiguration(
          address: .hostname(host, port: port), backlog: 1024,
          availableConnectionsDelegate: .maximum(try settings[HTTPSettings.maximumConnections], logger: logger)),
        logger: logger),
      address: "HTTP_HOST \(host) and HTTP_PORT \(port)")
  }
}

/// Names the address settings in the error when the server cannot listen.
private struct HTTPServer<Served: Service>: Service {
  let application: Served
  let address: String

  func run() async throws {
    do { try await application.run() } catch {
      throw ServerError(description: "cannot listen on \(address), or listening ended: \(error)")
    }
  }
}

private struct ServerError: Error, CustomStringConvertible {
  let description: String
}
