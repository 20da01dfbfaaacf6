import EventLoop
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Projections
import QueryKit
import ServiceKit

/// The console: a page for operators. The page itself is public and has no data. Its data needs the scope admin.
struct ConsoleRoutes {
  let overview: Overview
  let readStore: ReadStore

  /// The maximum number of viewers at once.
  static let limit = 20

  private static let files: [(path: RouterPath, type: String, bytes: [UInt8])] = [
    ("/console", "text/html; charset=utf-8", PackageResources.console_html),
    ("/console/app.js", "text/javascript; charset=utf-8", PackageResources.app_js),
    ("/console/style.css", "text/css; charset=utf-8", PackageResources.style_css),
  ]

  static func addPage(to router: Router<ServiceContext>) {
    for file in files {
      router.get(file.path) { _, _ in
        Response(
          status: .ok,
          headers: [
            .contentType: file.type, .cacheControl: "no-cache", .contentSecurityPolicy: policy,
            .xContentTypeOptions: "nosniff", HTTPField.Name("Referrer-Policy")!: "no-referrer",
          ], body: ResponseBody(byteBuffer: ByteBuffer(bytes: file.bytes)))
      }
    }
  }

  private static let policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    + "form-action 'none'; frame-ancestors 'none'"

  func add(to router: some RouterMethods<ServiceContext>) {
    router.get("/console/stream") { request, _ in try stream(request) }
    router.post("/console/parked/retry") { request, _ in try await retry(request) }
  }

  private func stream(_ request: Request) throws -> Response {
    guard let wakeup = overview.enter(atMost: Self.limit) else {
      throw Problem.unavailable(
        "So many look on already; close another console, or try again.", retryAfter: 10, isLogged: false)
    }
    let viewer = Viewer { [overview] in overview.leave(wakeup) }
    let body = ResponseBody { [overview] writer in
      defer { viewer.leave() }
      try await request.body.consumeWithCancellationOnInboundClose { _ in
        let end = ContinuousClock.now + ChangeRoutes.longest
        var seen = 0
        while ContinuousClock.now < end, !Task.isCancelled, !overview.isOver {
          if let (number, text) = overview.latest, number > seen {
            seen = number
            try await writer.write(ByteBuffer(bytes: Array("data: ".utf8) + text + [0x0A, 0x0A]))
          }
          await wakeup.wait(upTo: .seconds(5))
        }
      }
      try await writer.finish(nil)
    }
    return Response(
      status: .ok,
      headers: [.contentType: "text/event-stream", .cacheControl: "no-store", .accelBuffering: "no"], body: body)
  }

  /// Retries a parked stream. This is the console's only action.
  private func retry(_ request: Request) async throws -> Response {
    let json = try JSON(requestBody: try await request.jsonBytes())
    guard let projection = json["projection"]?.string, let stream = json["stream"]?.string else {
      throw Problem(
        .badRequest, "invalid-body", title: "The body is not valid",
        detail: #"It must be {"projection":…,"stream":…}, of a parked stream."#)
    }
    var failure: (any Error)?
    // Standbys reject writes, so try the servers until one accepts it.
    for server in readStore.servers {
      do {
        guard try await ParkedStreams(server.access.byKey).retry(projection, stream) > 0 else {
          throw Problem.notFound("\(stream) does not wait in \(projection).")
        }
        return .json(
          JSON.object([.init("stream", .string(stream)), .init("request", "retry")]).encoded, status: .accepted)
      } catch let problem as Problem { throw problem } catch { failure = error }
    }
    throw failure ?? Problem.unavailable("No read server takes writes.")
  }
}

extension HTTPField.Name {
  fileprivate static let contentSecurityPolicy = HTTPField.Name("Content-Security-Policy")!
  fileprivate static let xContentTypeOptions = HTTPField.Name("X-Content-Type-Options")!
}
