public import HTTPKit
internal import HTTPTypes
public import Hummingbird
internal import Metrics
internal import NIOCore
package import ServiceLifecycle

/// Authentication and rate limits of requests.
package struct Access: Sendable {
  /// nil if authentication is off.
  let verifier: TokenVerifier?
  let perSubject: RateLimiter?
  let perAddress: RateLimiter?
  /// The limits of the requests that use a scope, for each subject.
  let perScope: [Scope: RateLimiter]
  /// The number of our own proxies that a request has passed; each adds an address to X-Forwarded-For.
  let proxies: Int
  /// Services that must run so that tokens can be verified.
  package let services: [any Service]

  /// No authentication and no rate limits.
  package static let open = Access(
    verifier: nil, perSubject: nil, perAddress: nil, perScope: [:], proxies: 0, services: [])

  /// A check that holds once the token keys have been fetched; none if no keys are fetched.
  package var healthChecks: [HealthCheck] {
    guard let verifier, !services.isEmpty else { return [] }
    return [
      HealthCheck("tokenKeys") {
        guard verifier.isReady else { throw NotReady("the key set has not been fetched yet") }
      }
    ]
  }
}

/// Admits a request if its rate limits and its token allow it, and sets the context's caller.
public struct Admission: RouterMiddleware {
  /// The context with the caller.
  public typealias Context = ServiceContext

  /// The rate limits and the keys of tokens.
  package let access: Access
  let scope: Scope

  /// Creates the middleware.
  /// - Parameters:
  ///   - access: The rate limits and the keys of tokens.
  ///   - scope: The scope that a token must have.
  package init(_ access: Access, scope: Scope) {
    self.access = access
    self.scope = scope
  }

  /// Admits the request, or throws a `Problem`: 401 without a valid token, 403 without the scope, 429 above a rate
  /// limit.
  public func handle(
    _ request: Request, context: ServiceContext,
    next: (Request, ServiceContext) async throws -> Response
  ) async throws -> Response {
    if let limiter = access.perAddress {
      try Self.take(limiter, address(of: request, context), "address")
    }
    guard let verifier = access.verifier else { return try await next(request, context) }
    let caller = try await caller(of: request, verifier)
    if let limiter = access.perSubject { try Self.take(limiter, caller.subject ?? "", "subject") }
    do throws(Problem) { try caller.require(scope) } catch {
      Self.refused("scope")
      throw error
    }
    var context = context
    context.caller = caller
    if !access.perScope.isEmpty {
      context.countUse = { [limits = access.perScope] (scope, caller) throws(Problem) in
        if let limiter = limits[scope] { try Self.take(limiter, caller.subject ?? "", "scope") }
      }
      try context.countUse(scope, caller)
    }
    return try await next(request, context)
  }

  private func caller(of request: Request, _ verifier: TokenVerifier) async throws(Problem) -> Caller {
    guard verifier.isReady else {
      throw .unavailable("The keys of tokens have not been fetched yet; try again in a moment.")
    }
    let headers = request.headers[values: .authorization]
    guard let header = headers.first else {
      Self.refused("missing")
      // RFC 6750, section 3.1: a request without any token gets no error code.
      throw .unauthorized("Send a token, with the header Authorization: Bearer TOKEN.", challenge: "Bearer")
    }
    let parts = header.split(separator: " ", maxSplits: 1)
    guard headers.count == 1, parts.count == 2, parts[0].lowercased() == "bearer" else {
      Self.refused("malformed")
      throw .unauthorized("Send one header Authorization: Bearer TOKEN.", challenge: #"Bearer error="invalid_request""#)
    }
    do throws(TokenRefusal) {
      // One or more spaces (RFC 9110, section 11.6.2).
      return try await verifier.verify(String(parts[1].drop { $0 == " " }))
    } catch {
      Self.refused("token")
      throw .unauthorized(
        "Get another token: \(error.reason).",
        challenge: #"Bearer error="invalid_token", error_description="\#(error.reason)""#)
    }
  }

  /// The client's address, as the outermost of our proxies saw it.
  private func address(of request: Request, _ context: ServiceContext) -> String {
    let own = context.channel.remoteAddress?.ipAddress ?? ""
    guard access.proxies > 0 else { return own }
    let passed = request.headers[values: .forwardedFor].flatMap { $0.split(separator: ",") }
      .map { $0.trimmingPrefix(" ") }
    return passed.count >= access.proxies ? String(passed[passed.count - access.proxies]) : own
  }

  private static func take(_ limiter: RateLimiter, _ who: String, _ kind: String) throws(Problem) {
    guard let wait = limiter.take(who) else { return }
    Counter(label: "http_rate_limited_total", dimensions: [("by", kind)]).increment()
    let seconds = Int((wait / .seconds(1)).rounded(.up))
    throw Problem(
      .tooManyRequests, "too-many-requests", title: "Too many requests",
      detail: kind == "scope"
        ? "This subject has sent more requests that use a scope than are allowed; wait \(max(seconds, 1)) s."
        : "More requests came from this \(kind) than are allowed; wait \(max(seconds, 1)) s.",
      headers: [.retryAfter: String(max(seconds, 1))])
  }

  private static func refused(_ reason: String) {
    Counter(label: "http_refused_total", dimensions: [("reason", reason)]).increment()
  }
}

extension HTTPField.Name {
  static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
}
