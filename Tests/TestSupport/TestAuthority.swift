internal import Foundation

/// A self-signed certificate for one address, for tests over TLS.
public struct TestAuthority: Sendable {
  /// The settings of a service that serves HTTP over TLS; `clientSettings` are those of its clients.
  public let serverSettings: [String: String]
  public let clientSettings: [String: String]

  public init(address: String = "127.0.0.1") async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("certificate"))
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let certificate = folder.appendingPathComponent("certificate").path
    let key = folder.appendingPathComponent("key").path
    let openssl = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/openssl"),
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
        "/CN=\(address)", "-addext", "subjectAltName=IP:\(address)", "-keyout", key, "-out", certificate,
      ])
    guard try await openssl.wait() == 0 else { throw NeverHappened(description: openssl.output) }
    serverSettings = ["TLS_CERTIFICATE_FILE": certificate, "TLS_KEY_FILE": key]
    clientSettings = ["TLS_CA_FILE": certificate]
  }
}
