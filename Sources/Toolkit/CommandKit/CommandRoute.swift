public import EventSourcing
internal import Foundation
public import HTTPTypes
package import Hummingbird
package import JSON
package import PostgresEventStore
package import ServiceKit

/// A route that takes a command. The request's body is read as the command; so are the path's parameters, as members of their
/// names, but for `id`: that is the id of the stream which a `StreamCommand` is for. Where none of the other members is required, there
/// need be no body.
///
///     .post("/v1/accounts", OpenAccount.self)                        // a new account: 201, with where it is
///     .post("/v1/accounts/{id}/withdrawals", Withdraw.self)          // 200
///     .post("/v1/accounts/{from}/transfers", Transfer.self)          // a Command of several streams, with a member `from`
///     .post("/v1/people/{author}/posts", Publish.self, creating: "/v1/posts/{id}")   // one with a new member `id`: 201
public struct CommandRoute: Sendable {
  /// What a request's body has, and what the path says instead.
  package struct Body: Sendable {
    /// nil where it is not known.
    package let members: [JSONShape.Member]?
    /// Why the path and the command do not fit; nil for nothing.
    let problem: String?
    /// The command's members that it does not have, with their shapes.
    private let given: [String: JSONShape]

    /// - Parameters:
    ///   - names: of the command's members that it does not have.
    ///   - isOfStream: `{id}` in the path is the stream's.
    fileprivate init(
      _ command: any Decodable.Type, given names: [String], _ path: String, isOfStream: Bool = false
    ) {
      guard case .object(let all) = JSONShape(of: command) else {
        (members, problem, given) = (nil, nil, [:])
        return
      }
      members = all.filter { !names.contains($0.name) }
      given = Dictionary(all.map { ($0.name, $0.shape) }) { first, _ in first }.filter { names.contains($0.key) }
      if let stray = names.first(where: { name in !all.contains { $0.name == name } }) {
        problem = "\(path) gives \(stray), and \(command) has no member of that name"
      } else if isOfStream, all.contains(where: { $0.name == "id" }) {
        problem = "\(command) has a member id, which cannot be the {id} of \(path): that is the stream's"
      } else {
        problem = nil
      }
    }

    package var isRequired: Bool { members?.contains { !$0.isOptional } ?? true }

    /// A member that the path gives. What cannot be one is left for the command to refuse.
    fileprivate func member(_ name: String, _ text: String) -> JSON.Member {
      let value: JSON? =
        switch given[name] {
        case .integer: Int64(text).map { .integer($0) }
        case .number: Double(text).map { .number($0) }
        case .boolean: ["true": .boolean(true), "false": .boolean(false)][text]
        default: nil
        }
      return JSON.Member(name, value ?? .string(text))
    }
  }

  public let method: HTTPRequest.Method
  public let path: String
  package let body: Body
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

  /// For the stream of `{id}`.
  public static func delete<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.delete, path, C.self)
  }

  /// For several streams; the response is about the first one.
  public static func post<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.post, path, C.self)
  }

  /// For several streams; the response is about the first one.
  public static func put<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.put, path, C.self)
  }

  /// For several streams; the response is about the first one.
  public static func patch<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.patch, path, C.self)
  }

  /// For several streams; the response is about the first one.
  public static func delete<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.delete, path, C.self)
  }

  /// For several streams, of which the first is new: 201, with where it is.
  /// - Parameter thing: the path of what is made, which ends with its one parameter: the command's member of that name is a new
  ///   UUID.
  public static func post<C: Command & Decodable>(
    _ path: String, _: C.Type, creating thing: String
  ) -> CommandRoute {
    let names = pathParameters(of: path)
    let made = pathParameters(of: thing)
    let name = made.first ?? ""
    let place = String(thing.dropLast("/{\(name)}".count))
    let body = Body(C.self, given: names + made, path)
    return CommandRoute(
      method: .post, path: path, body: body, command: C.name, creates: true,
      problem: made.count == 1 && thing.hasSuffix("/{\(name)}") && !names.contains(name)
        ? body.problem : "\(thing), which \(path) creates, needs one parameter, at its end and of a name of its own"
    ) { commands, request, context in
      let id = UUID.v7().uuidString.lowercased()
      let (command, bytes): (C, [UInt8]) = try await commands.read(
        request, context, body, names, made: [JSON.Member(name, .string(id))])
      return try await commands.create(command, place, id, request, bytes, by: context.caller)
    }
  }

  private static func several<C: Command & Decodable>(
    _ method: HTTPRequest.Method, _ path: String, _: C.Type
  ) -> CommandRoute {
    let names = pathParameters(of: path)
    let body = Body(C.self, given: names, path)
    return CommandRoute(
      method: method, path: path, body: body, command: C.name, creates: false, problem: body.problem
    ) { commands, request, context in
      let (command, bytes): (C, [UInt8]) = try await commands.read(request, context, body, names)
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
    let body = Body(C.self, given: names, path, isOfStream: !creates)
    return CommandRoute(
      method: method, path: path, body: body, command: Addressed<C>.name, creates: creates,
      problem: StreamID.isValid(category: C.State.category, id: "1")
        ? (creates && method != .post ? "\(method) \(path) needs {id}, which names what is changed" : body.problem)
        : "the category '\(C.State.category)' of \(C.State.self) is empty, has a -, or is too long"
    ) { commands, request, context in
      let (command, bytes): (C, [UInt8]) = try await commands.read(request, context, body, names)
      guard !creates else {
        let id = UUID.v7().uuidString.lowercased()
        return try await commands.create(
          Addressed(command, to: id, isExpectedNew: true), request.uri.path, id, request, bytes, by: context.caller)
      }
      let id = try context.streamID("id", of: C.State.self)
      return try await commands.change(Addressed(command, to: id), id, request, bytes, by: context.caller)
    }
  }
}

extension Commands {
  /// Reads the request as the command that it asks for.
  /// - Parameters:
  ///   - names: of the path's parameters that are members.
  ///   - made: members that are new.
  fileprivate func read<C: Decodable>(
    _ request: Request, _ context: ServiceContext, _ body: CommandRoute.Body, _ names: [String],
    made: [JSON.Member] = []
  ) async throws -> (C, [UInt8]) {
    let (json, bytes) = try await self.body(of: request, isOptional: !body.isRequired)
    let given = try names.map { body.member($0, try context.pathParameter($0)) } + made
    do throws(JSONDecodingErrors) { return (try json.decodeRequest(given: given), bytes) } catch {
      throw Rejection.invalidRequest(error.all.map { .init(pointer: $0.pointer, detail: $0.reason) })
    }
  }
}
