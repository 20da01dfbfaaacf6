import AccessKit
import HTTPKit
import Hummingbird
import ServiceKit
import SettingsKit

/// Answers every `GET /v1/constant/{id}` with the same JSON, like a query-service that already knows the answer. It is
/// the baseline for the cost of reading.
///
///     ANSWER_SIZE=600 HTTP_PORT=0 AUTH=off constant-answer
@main
struct ConstantAnswer {
  private static let size = Setting.integer("ANSWER_SIZE", default: 600, in: 20...1_000_000, help: "Bytes.")

  static func main() async {
    await Role("constant-answer", port: 8085, settings: [size.description] + AccessSettings.all) { settings, logger in
      let access = try await Access(settings, logger: logger)
      let answer = Array(#"{"text":"\#(String(repeating: "x", count: try settings[size] - 11))"}"#.utf8)
      var parts = RoleParts()
      parts.addRoutes { router in
        router.group().add(middleware: Admission(access, scope: .queriesRead)).get("/v1/constant/{id}") { _, context in
          _ = try context.pathParameter("id")
          return Response.json(answer, headers: [.eTag: "\"1-0123456789abcdef\"", .cacheControl: "private, no-cache"])
        }
      }
      return parts
    }.main()
  }
}
