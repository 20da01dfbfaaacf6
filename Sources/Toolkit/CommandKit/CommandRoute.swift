public import EventSourcing
internal import Foundation
public import HTTPTypes
package import Hummingbird
package import JSON
package import PostgresEventStore
package import ServiceKit

/// A route that takes a command. The request's body is read as the command; so are the path's parameters, as members of their
/// names, but for `id`: that is the id of the stream which a `StreamCommand` is for.
///
///     .post("/v1/accounts", OpenAccount.self)                        // a new account: 201, with where it is
///     .post("/v1/accounts/{id}/withdrawals", Withdraw.self)          // 200
///     .post("/v1/accounts/{from}/transfers", Transfer.self)          // a Command of several streams, with a member `from`
public struct CommandRoute: Sendable {
  public let method: HTTPRequest.Method
  public let path: String
  /// Of the body, with the path's parameters.
  package let body: JSONShape
  package let command: String
  /// Whether it makes something new each time.
  package let creates: Bool
  /// Why it cannot work as it is declared; nil for nothing.
  package var problem: String?
  package let respond: @Sendable (Commands<PostgresEventStore>, Request, ServiceContext) async throws -> Response

  /// For one stream. Without `{id}` in the path the stream is a new one, whose id is a UUID.
  public static func post<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.post, path, C.self)
  }

  /// For the stream of `{id}`.
  public static func put<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.put, path, C.self)
  }

  /// For the stream of `{id}`.
  public static func patch<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.patch, path, C.self)
  }

  /// For the stream of `{id}`. There need be no body.
  public static func delete<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.delete, path, C.self)
  }

  /// For several streams; the answer is about the first one.
  public static func post<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    let names = pathParameters(of: path)
    return CommandRoute(method: .post, path: path, body: JSONShape(of: C.self), command: C.name, creates: false) {
      commands, request, context in
      let (command, bytes): (C, [UInt8]) = try await commands.read(request, context, names)
      // One that names no stream fails where it is carried out, with a log line.
      let id = command.streams.first.map { String($0.stream.id) } ?? ""
      return try await commands.change(command, id, request, bytes, by: context.caller)
    }
  }

  private static func stream<C: StreamCommand & Decodable>(
    _ method: HTTPRequest.Method, _ path: String, _: C.Type
  ) -> CommandRoute {
    let creates = !path.contains("{id}")
    let names = pathParameters(of: path).filter { $0 != "id" }
    return CommandRoute(
      method: method, path: path, body: JSONShape(of: C.self), command: Addressed<C>.name, creates: creates,
      problem: StreamID.isValid(category: C.State.category, id: "1")
        ? (creates && method != .post ? "\(method) \(path) needs {id}, which names what is changed" : nil)
        : "the category '\(C.State.category)' of \(C.State.self) is empty, has a -, or is too long"
    ) { commands, request, context in
      let (command, bytes): (C, [UInt8]) = try await commands.read(
        request, context, names, isOptional: method == .delete)
      guard !creates else {
        let id = UUID.v7().uuidString.lowercased()
        return try await commands.create(
          Addressed(command, to: id, isExpectedNew: true), path, id, request, bytes, by: context.caller)
      }
      let id = try context.streamID("id", of: C.State.self)
      return try await commands.change(Addressed(command, to: id), id, request, bytes, by: context.caller)
    }
  }
}

extension Commands {
  /// Reads the request as the command that it asks for.
  /// - Parameter names: of the path's parameters that are members.
  fileprivate func read<C: Decodable>(
    _ request: Request, _ context: ServiceContext, _ names: [String], isOptional: Bool = false
  ) async throws -> (C, [UInt8]) {
    let (json, bytes) = try await body(of: request, isOptional: isOptional)
    let given = try names.map { JSON.Member($0, .string(try context.pathParameter($0))) }
    do throws(JSONDecodingErrors) { return (try json.decodeRequest(given: given), bytes) } catch {
      throw Rejection.invalidRequest(error.all.map { .init(pointer: $0.pointer, detail: $0.reason) })
    }
  }
}
