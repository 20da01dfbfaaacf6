internal import ArgumentParser
internal import Foundation
internal import HTTPKit
internal import SettingsKit

/// Asks a process whether it is ready, for health checks of containers.
struct Healthy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Asks a process whether it is ready: exit status 0 if it is, else 1.",
    discussion: """
      Without a URL it asks the process of its own container, at HTTP_HOST and HTTP_PORT (8080 by default), with https if \
      TLS_CERTIFICATE is set. It then accepts any certificate, since that of the process names the host that clients use. \
      With a URL it checks the certificate, and TLS_CA names the authorities to trust.
      """)

  /// The part of a response that is printed, in bytes.
  private static let shown = 4096

  @Argument(help: "The URL of the process, such as http://127.0.0.1:8081.") var url: String?
  @Option(help: "How long connecting, and again the response, may take, in seconds.") var timeout = 2.0

  private struct Unready: Error, CustomStringConvertible {
    let description: String
  }

  func validate() throws {
    guard (0.1...60).contains(timeout) else { throw ValidationError("--timeout takes 0.1 to 60 seconds") }
    if let url, Self.parsed(url) == nil { throw ValidationError("the URL is one such as http://127.0.0.1:8081") }
  }

  func run() async throws {
    try await reportingSettings {
      let settings = Settings()
      let client = try ProcessClient(settings, isVerifying: url != nil)
      let own = try Self.ownURL(settings)
      guard let url = Self.parsed(url ?? own) else { throw SettingError(HTTPSettings.host, "is no host of a URL") }
      do { try await ask(url.appending(path: "readyz"), client) } catch {
        FileHandle.standardError.write(Data("\(Administration.current.program): \(url): \(error)\n".utf8))
        throw ExitCode(1)
      }
    }
  }

  private func ask(_ url: URL, _ client: ProcessClient) async throws {
    let answer = try await client.send("GET", url, within: .seconds(timeout))
    guard answer.status != 200 else { return }
    throw Unready(
      description: "status \(answer.status) \(String(decoding: answer.body.prefix(Self.shown), as: UTF8.self))")
  }

  private static func parsed(_ text: String) -> URL? {
    guard let url = URL(string: text), ["http", "https"].contains(url.scheme), url.host != nil else { return nil }
    return url
  }

  /// The URL of the process that runs on this machine with the same settings.
  private static func ownURL(_ settings: Settings) throws(SettingError) -> String {
    let host = try settings[HTTPSettings.host]
    let port = try settings[HTTPSettings.port(default: 8080)]
    let scheme = try settings[HTTPSettings.certificate] == nil ? "http" : "https"
    // A process at one of these listens at every address, and loopback is one of them.
    let address = ["0.0.0.0": "127.0.0.1", "::": "::1"][host] ?? host
    return "\(scheme)://\(address.contains(":") ? "[\(address)]" : address):\(port)"
  }
}
