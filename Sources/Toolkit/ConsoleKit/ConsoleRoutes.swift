internal import EventLoop
internal import Foundation
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Machine
internal import NIOCore
internal import QueryKit

/// The console: a page for operators. The page itself is public and has no data, only what the application declares of
/// it. Its data needs the scope admin.
struct ConsoleRoutes {
  let overview: Overview
  let projections: ProjectionWatch

  /// The maximum number of viewers at once.
  static let limit = 20

  private static func files(of console: Console) -> [(path: RouterPath, type: String, bytes: [UInt8])] {
    [
      ("/console", "text/html; charset=utf-8", PackageResources.console_html),
      ("/console/app.js", "text/javascript; charset=utf-8", PackageResources.app_js),
      ("/console/style.css", "text/css; charset=utf-8", PackageResources.style_css),
      ("/console/application.json", "application/json", console.json.encoded),
    ]
  }

  static func addPage(of console: Console, to router: Router<ServiceContext>) {
    for file in files(of: console) {
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
        let end = Machine.now + ChangeRoutes.longest
        var seen = 0
        while Machine.now < end, !Task.isCancelled, !overview.isOver {
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
        .badRequest, "invalid-body", title: "Invalid body",
        detail: #"It must be {"projection":…,"stream":…}, of a parked stream."#)
    }
    try await projections.retry(projection, stream)
    return .json(
      JSON.object([.init("stream", .string(stream)), .init("request", "retry")]).encoded, status: .accepted)
  }
}

extension HTTPField.Name {
  fileprivate static let contentSecurityPolicy = HTTPField.Name("Content-Security-Policy")!
  fileprivate static let xContentTypeOptions = HTTPField.Name("X-Content-Type-Options")!
}
