internal import CommandKit
internal import HTTPKit
internal import HTTPTypes
internal import JSON
internal import QueryKit

extension Application {
  /// The application's HTTP interface as an OpenAPI 3.1 document.
  var openAPI: JSON {
    var paths: [(path: String, operations: [JSON.Member])] = []
    // Paths that differ only in the names of their parameters are one path.
    var routed = RouterPaths()
    func add(_ path: String, _ method: String, _ operation: (String) -> JSON) {
      let path = routed.add(path).path
      if let index = paths.firstIndex(where: { $0.path == path }) {
        paths[index].operations.append(JSON.Member(method, operation(path)))
      } else {
        paths.append((path, [JSON.Member(method, operation(path))]))
      }
    }
    var ids: [String: Int] = [:]
    for route in commands {
      ids[route.command, default: 0] += 1
      let number = ids[route.command, default: 1]
      add(route.path, route.method.rawValue.lowercased()) {
        route.operation($0, id: route.command + (number > 1 ? "\(number)" : ""))
      }
    }
    for route in queries { add(route.path, "get", route.operation) }
    return [
      "openapi": "3.1.0", "info": ["title": .string(Self.name), "version": "1"],
      "paths": .object(paths.map { JSON.Member($0.path, .object($0.operations)) }),
      "security": [["token": []], [:]],
      "components": [
        "securitySchemes": ["token": ["type": "http", "scheme": "bearer", "bearerFormat": "JWT"]],
        "schemas": [
          "Problem": [
            "type": "object", "description": "RFC 9457", "required": ["type", "title", "status", "detail"],
            "properties": [
              "type": ["type": "string"], "title": ["type": "string"], "status": ["type": "integer"],
              "detail": ["type": "string"],
              "errors": [
                "type": "array",
                "items": [
                  "type": "object", "required": ["pointer", "detail"],
                  "properties": ["pointer": ["type": "string"], "detail": ["type": "string"]],
                ],
              ],
            ],
          ],
          "Done": [
            "type": "object", "required": ["id", "version", "position"],
            "properties": [
              "id": ["type": "string"], "version": ["type": "integer"], "position": ["type": "integer"],
              "changed": ["type": "boolean"],
            ],
          ],
        ],
        "responses": [
          "Problem": [
            "description": "It was not done, or not found; says why, and what to change.",
            "content": ["application/problem+json": ["schema": ["$ref": "#/components/schemas/Problem"]]],
          ]
        ],
      ],
    ]
  }
}

private let anyProblem: JSON = ["$ref": "#/components/responses/Problem"]

private func inPath(_ path: String) -> [JSON] {
  pathParameters(of: path).map {
    ["name": .string($0), "in": "path", "required": true, "schema": ["type": "string"]]
  }
}

private func header(_ name: String, _ help: String) -> JSON {
  [
    "name": .string(name), "in": "header", "required": false, "description": .string(help),
    "schema": ["type": "string"],
  ]
}

extension CommandRoute {
  /// - Parameter path: The path in the document.
  fileprivate func operation(_ path: String, id: String) -> JSON {
    func done(_ description: String, isNew: Bool = false) -> JSON {
      var headers: [JSON.Member] = [
        .init("ETag", answered("The version.")),
        .init("Consistency-Token", answered("Sent with a query, what was done is seen.")),
      ]
      if isNew { headers.append(.init("Location", answered("Where it is."))) }
      return [
        "description": .string(description), "headers": .object(headers),
        "content": ["application/json": ["schema": ["$ref": "#/components/schemas/Done"]]],
      ]
    }
    var members: [JSON.Member] = [
      .init("operationId", .string(id)),
      .init(
        "parameters",
        .array(
          inPath(path) + [header("Idempotency-Key", "Sent again with the same key it takes effect once.")]
            + (creates ? [] : [header("If-Match", "The version that it must have.")]))),
    ]
    let schema = body.members.map { JSONShape.object($0).schema() } ?? .object([])
    if body.members?.isEmpty != true {
      members.append(
        .init(
          "requestBody",
          ["required": .boolean(body.isRequired), "content": ["application/json": ["schema": schema]]]))
    }
    var responses = [JSON.Member("200", done("It is done, or there was nothing to do."))]
    if creates || method == .put { responses.append(.init("201", done("It is there now.", isNew: creates))) }
    members.append(.init("responses", .object(responses + [.init("default", anyProblem)])))
    return .object(members)
  }
}

private func answered(_ help: String) -> JSON {
  ["description": .string(help), "schema": ["type": "string"]]
}

extension QueryRoute {
  /// - Parameter path: The path in the document.
  fileprivate func operation(_ path: String) -> JSON {
    let element = shape?.schema(isAnswer: true) ?? .object([])
    let content: JSON =
      isList
      ? [
        "type": "object", "required": ["items"],
        "properties": [
          "items": ["type": "array", "items": element], "nextCursor": ["type": .array(["string", "null"])],
        ],
      ] : element
    let media: JSON =
      isStream ? ["text/event-stream": ["schema": ["type": "string"]]] : ["application/json": ["schema": content]]
    let asked: [JSON] = parameters.map {
      [
        "name": .string($0.name), "in": "query", "required": false, "description": .string($0.help),
        "schema": ["type": "string"],
      ]
    }
    return [
      "summary": .string(summary),
      "parameters": .array(
        inPath(path) + asked + [
          header("Consistency-Token", "As a command answered it: what it did is seen."),
          header("If-None-Match", "The ETag of an answer that one has."),
        ]),
      "responses": [
        "200": [
          "description": "Found.", "headers": ["ETag": answered("Of this answer.")],
          "content": media,
        ],
        "304": ["description": "It is what one has."], "default": anyProblem,
      ],
    ]
  }
}

extension JSONShape {
  /// Returns the shape as JSON Schema.
  /// - Parameter isAnswer: Whether optional members are always present, and may be null.
  fileprivate func schema(isAnswer: Bool = false) -> JSON {
    switch self {
    case .string: return ["type": "string"]
    case .formatted(let format): return ["type": "string", "format": .string(format.rawValue)]
    case .integer: return ["type": "integer"]
    case .number: return ["type": "number"]
    case .boolean: return ["type": "boolean"]
    case .choice(let names): return ["type": "string", "enum": .array(names.map { .string($0) })]
    case .array(let element): return ["type": "array", "items": element.schema(isAnswer: isAnswer)]
    case .unknown: return .object([])
    case .object(let members):
      return [
        "type": "object",
        "required": .array(members.filter { isAnswer || !$0.isOptional }.map { .string($0.name) }),
        "properties": .object(
          members.map { member in
            let schema = member.shape.schema(isAnswer: isAnswer)
            return JSON.Member(
              member.name, member.isOptional ? ["anyOf": [schema, ["type": "null"]]] : schema)
          }),
      ]
    }
  }
}
