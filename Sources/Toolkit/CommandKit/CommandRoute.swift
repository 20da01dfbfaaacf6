public import EventSourcing
internal import Foundation
package import HTTPKit
public import HTTPTypes
package import Hummingbird
package import JSON

/// A route that takes a command.
///
/// The request's body is decoded as the command. Parameters in the path become members of the command with the same
/// names. Only `id` is different: it is the id of the stream of a `StreamCommand`. The body may be missing if none of
/// its members is required.
///
///     .post("/v1/accounts", OpenAccount.self)                 // a new account: 201, with Location
///     .post("/v1/accounts/{id}/withdrawals", Withdraw.self)   // 200
///     .post("/v1/accounts/{from}/transfers", Transfer.self)   // a Command on several streams, with a member `from`
///     // Creates a post, whose new id is the member `id`: 201.
///     .post("/v1/people/{author}/posts", Publish.self, creating: "/v1/posts/{id}")
public struct CommandRoute: Sendable {
  /// The members of a request's body, and those that come from the path.
  package struct Body: Sendable {
    /// The members of the body; nil if they are not known.
    package let members: [JSONShape.Member]?
    /// Why the path does not match the command; nil if it does.
    let problem: String?
    /// The command's members that do not come from the body, with their shapes.
    private let given: [String: JSONShape]

    /// - Parameters:
    ///   - names: The command's members that do not come from the body.
    ///   - isOfStream: Whether `{id}` in the path is the id of the stream.
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

    /// Returns a member with its value from the path. A text that does not match the member's type stays a string,
    /// which the command's decoding refuses.
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

  /// The HTTP method of the request.
  public let method: HTTPRequest.Method
  /// The path, such as `/v1/accounts/{id}/deposits`.
  public let path: String
  package let body: Body
  package let command: String
  /// The aggregate of a command on one stream; nil for a command on several, whose streams are known only once it is read.
  package var aggregate: (any Aggregate.Type)?
  /// Whether each request creates something new.
  package let creates: Bool
  /// Why the declaration cannot work; nil if it can.
  package var problem: String?
  package let respond: @Sendable (any CommandEndpoint, Request, ServiceContext) async throws -> Response

  /// A command on one stream. Without `{id}` in the path, each request creates a stream with a UUID as its id.
  public static func post<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.post, path, C.self)
  }

  /// A command on the stream with the id `{id}`.
  public static func put<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.put, path, C.self)
  }

  /// A command on the stream with the id `{id}`.
  public static func patch<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.patch, path, C.self)
  }

  /// A command on the stream with the id `{id}`.
  public static func delete<C: StreamCommand & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    stream(.delete, path, C.self)
  }

  /// A command on several streams. The response describes the first one.
  public static func post<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.post, path, C.self)
  }

  /// A command on several streams. The response describes the first one.
  public static func put<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.put, path, C.self)
  }

  /// A command on several streams. The response describes the first one.
  public static func patch<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.patch, path, C.self)
  }

  /// A command on several streams. The response describes the first one.
  public static func delete<C: Command & Decodable>(_ path: String, _: C.Type) -> CommandRoute {
    several(.delete, path, C.self)
  }

  /// A command on several streams that creates the first one. The response is 201, with its Location.
  /// - Parameters:
  ///   - path: The path of the request.
  ///   - command: The command.
  ///   - thing: The path of the created resource. It ends with its only parameter. The command's member with that name
  ///     is a new UUID.
  public static func post<C: Command & Decodable>(
    _ path: String, _ command: C.Type, creating thing: String
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
      return try await commands.create(command, place, id, request, bytes, by: context.caller, in: nil)
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
      // A command that names no stream fails in the processor, which logs it.
      let id = command.streams.first.map { String($0.stream.id) } ?? ""
      return try await commands.change(command, id, request, bytes, by: context.caller, in: nil, extra: nil)
    }
  }

  private static func stream<C: StreamCommand & Decodable>(
    _ method: HTTPRequest.Method, _ path: String, _: C.Type
  ) -> CommandRoute {
    let creates = !path.contains("{id}")
    let names = pathParameters(of: path).filter { $0 != "id" }
    let body = Body(C.self, given: names, path, isOfStream: !creates)
    return CommandRoute(
      method: method, path: path, body: body, command: Addressed<C>.name, aggregate: C.State.self, creates: creates,
      problem: StreamID.isValid(category: C.State.category, id: "1")
        ? (creates && method != .post ? "\(method) \(path) needs {id}, which names what is changed" : body.problem)
        : "the category '\(C.State.category)' of \(C.State.self) is empty, has a -, or is too long"
    ) { commands, request, context in
      let (command, bytes): (C, [UInt8]) = try await commands.read(request, context, body, names)
      guard !creates else {
        let id = UUID.v7().uuidString.lowercased()
        return try await commands.create(
          Addressed(command, to: id, isExpectedNew: true), request.uri.path, id, request, bytes, by: context.caller,
          in: nil)
      }
      let id = try context.streamID("id", of: C.State.self)
      return try await commands.change(
        Addressed(command, to: id), id, request, bytes, by: context.caller, in: nil, extra: nil)
    }
  }
}

extension CommandEndpoint {
  /// Decodes the request as a command.
  /// - Parameters:
  ///   - names: The path's parameters that are members of the command.
  ///   - made: Members with new values.
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
