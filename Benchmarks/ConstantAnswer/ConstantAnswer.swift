import Hummingbird
import Logging
import ServiceKit
import ServiceLifecycle

/// Answers every `GET /v1/constant/{id}` with the same JSON, as query-service would if it knew the answer: what reading costs is
/// measured against it.
///
///     ANSWER_SIZE=600 HTTP_PORT=0 AUTH=off constant-answer
@main
struct ConstantAnswer {
  static func main() async {
    await ServiceMain.run("constant-answer", build)
  }

  static func build(_ settings: Settings, _ logger: Logger) async throws -> [any Service] {
    let size = try settings[Setting.integer("ANSWER_SIZE", default: 600, in: 20...1_000_000, help: "Bytes.")]
    let access = try await Access(settings, logger: logger)
    let answer = Array(#"{"text":"\#(String(repeating: "x", count: size - 11))"}"#.utf8)
    let router = ServiceMain.router()
    try router.addHealth([], settings)
    router.group().add(middleware: Admission(access, scope: .queriesRead)).get("/v1/constant/{id}") { _, context in
      _ = try context.pathParameter("id")
      return Response.json(answer, headers: [.eTag: "\"1-0123456789abcdef\"", .cacheControl: "private, no-cache"])
    }
    return [
      try ServiceMain.httpServer(
        ProblemResponder(router), settings, port: CommonSettings.httpPort(default: 8085), logger: logger)
    ]
  }
}
