public import EventSourcing
internal import Foundation
package import HTTPKit
package import Hummingbird
package import JSON
public import Projections

/// A GET route with all that queries share: consistency tokens, ETags, freshness, the cache and coalescing.
///
///     .row("/v1/accounts/{id}", Balances())
///     .list("/v1/accounts", Balances(), filters: ["owner"], order: .ascending("owner"))
///     .totals("/v1/accounts/{account}/months", "statement_months", of: Statement())
public struct QueryRoute: Sendable {
  /// The path, with parameters such as `{id}`.
  public let path: String
  /// The names of the read models that the route reads.
  package let models: [String]
  /// Names and descriptions of the query's parameters, without those of the path.
  package let parameters: [(name: String, help: String)]
  /// The shape of the answer, or of each element of a list; nil if it is not known.
  package let shape: JSONShape?
  package let isList: Bool
  /// Whether the answer is a stream of Server-Sent Events.
  package var isStream = false
  package let summary: String
  /// The aggregate whose events the route returns.
  package var aggregate: (any Aggregate.Type)?
  /// Why the route cannot work as it is declared; nil if it can.
  package var problem: String?
  /// SQL that fails if the route's own SQL cannot run or lacks a column; nil if the SQL is generated.
  var probe: String?
  package let respond: @Sendable (Queries, Request, ServiceContext) async throws -> Response

  /// Returns a route for one row of a read model. The only parameter of the path is the row's key.
  ///
  /// If the row belongs to one stream, `?consistency=strong` folds it from the stream's events at the moment of the
  /// query. `?version=` and `?at=` return it as of a version or a time. All three fold 100,000 events at most.
  public static func row<Model: ReadModel>(_ path: String, _ model: Model) -> QueryRoute {
    let own = model.sources.count == 1 && model.sources[0].isByStreamID
    let category = model.sources.first?.category ?? ""
    let name = pathParameters(of: path).last
    return QueryRoute(
      path: path, models: [model.name],
      parameters: own
        ? [
          ("consistency", "strong: folded from the events at the moment of the query"), ("version", "as of a version"),
          ("at", "as of a time, as in RFC 3339"),
        ] : [],
      shape: (Model.Row.self as? any Decodable.Type).map { JSONShape(of: $0) }, isList: false,
      summary: "A row of \(model.name).", problem: pathParameters(of: path).count == 1 ? nil : noParameter(path)
    ) { queries, request, context in
      let key = try context.pathParameter(name ?? "")
      var parameters = QueryParameters(request)
      let missing = "There is no \(key) in \(model.name), or it has not come here yet."
      guard own else {
        try parameters.finish()
        return try await queries.responder.answer(request, [Reads(model.name)], missing: missing, isShared: false) {
          try await $0.row(model.name, key).map { QueryResult($0) }
        }
      }
      let isStrong = try parameters.choice("consistency", ["strong"]) != nil
      let moment = try parameters.moment()
      try parameters.finish()
      guard StreamID.isValid(category: category, id: key) else { throw Problem.notFound(missing) }
      let stream = StreamID(category: category, id: key)
      if isStrong || moment != nil {
        guard moment == nil || !isStrong else {
          throw QueryParameters.wrong("consistency", "must be left out beside version and at")
        }
        return try await queries.responder.answer(
          request,
          missing: isStrong
            ? "There is no \(category) \(key)."
            : "There was no \(category) \(key) then, or it has not come to that version."
        ) { try await $0.row(key, of: stream, at: moment ?? Histories.Moment.now) { _ in model } }
      }
      return try await queries.responder.answer(
        request, [Reads(model.name, stream)], missing: missing, isShared: false
      ) { try await $0.row(model.name, key).map { QueryResult($0) } }
    }
  }

  /// Returns a route for the events of one stream, page by page from the first one.
  /// - Parameters:
  ///   - path: the path. Its only parameter is the stream's id.
  ///   - type: the aggregate of the stream.
  ///   - naming: the rule for ids; nil if every valid id of a stream is one.
  public static func history<State: Aggregate>(
    _ path: String, of type: State.Type, named naming: Naming? = nil
  ) -> QueryRoute {
    let name = pathParameters(of: path).last
    return QueryRoute(
      path: path, models: [], parameters: page, shape: nil, isList: true,
      summary: "What happened to one \(State.category).", aggregate: State.self,
      problem: pathParameters(of: path).count == 1 ? nil : noParameter(path)
    ) { queries, request, context in
      let (stream, missing) = try context.stream(name ?? "", of: State.self, naming)
      return try await queries.history(request, context, of: stream, missing: missing)
    }
  }

  /// Returns a route that follows the changes of one stream, as Server-Sent Events.
  /// - Parameters:
  ///   - path: the path. Its only parameter is the stream's id.
  ///   - type: the aggregate of the stream.
  ///   - model: has a row for each stream, with the stream's id as its key.
  ///   - naming: the rule for ids; nil if every valid id of a stream is one.
  public static func changes<State: Aggregate, Model: ReadModel>(
    _ path: String, of type: State.Type, in model: Model, named naming: Naming? = nil
  ) -> QueryRoute {
    let name = pathParameters(of: path).last
    let hasRows = model.sources.contains { $0.isByStreamID && $0.category == State.category }
    return QueryRoute(
      path: path, models: [model.name], parameters: [], shape: nil, isList: false, isStream: true,
      summary: "Follows one \(State.category).", aggregate: State.self,
      problem: pathParameters(of: path).count != 1
        ? noParameter(path)
        : hasRows ? nil : "\(model.name) has no row for each \(State.category), which \(path) follows"
    ) { queries, request, context in
      let (stream, missing) = try context.stream(name ?? "", of: State.self, naming)
      return try await queries.changes(request, of: stream, in: model.name, missing: missing)
    }
  }

  private static func noParameter(_ path: String) -> String {
    "\(path) needs a parameter, and no other, such as {id}, that names what is read"
  }

  static let page = [
    (name: "limit", help: "how many, at most"), (name: "cursor", help: "the nextCursor of the page before"),
  ]
}
