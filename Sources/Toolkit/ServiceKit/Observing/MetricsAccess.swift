internal import HTTPKit
package import Hummingbird
package import SettingsKit

/// Who may read what a process says of itself: everybody, or those who know `METRICS_TOKEN`.
package struct MetricsAccess: Sendable {
  private let token: [UInt8]?

  package init(_ settings: Settings) throws(SettingError) {
    token = try settings[Observing.metricsToken].map { Array("Bearer \($0)".utf8) }
  }

  /// - Throws: a `Problem` (401) if the request lacks the token.
  package func admit(_ request: Request) throws {
    guard let token else { return }
    guard constantTimeEqual(Array((request.headers[.authorization] ?? "").utf8), token) else {
      throw Problem.unauthorized("Send METRICS_TOKEN as a bearer token.", challenge: #"Bearer realm="metrics""#)
    }
  }
}

/// Compares arrays of one length in constant time, so that timing does not reveal how much of a guess is right.
private func constantTimeEqual(_ guess: [UInt8], _ secret: [UInt8]) -> Bool {
  guard guess.count == secret.count else { return false }
  return zip(guess, secret).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
}
