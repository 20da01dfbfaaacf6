public import HTTPKit
internal import HTTPTypes
public import Hummingbird
internal import Logging

/// The caller of a query whose answer may have personal data.
public struct Reader: Sendable {
  /// Whether the caller may see personal data.
  public let maySeePersonalData: Bool
  /// Whether the query looks for persons by their personal data. The log then has it also if it finds nobody.
  public var searchesPersons = false
  /// nil if authentication is off, so that nobody can be named.
  private let subject: String?
  private let route: String
  private let correlationID: String
  private let logger: Logger

  fileprivate init(_ request: Request, _ context: ServiceContext, maySeePersonalData: Bool) {
    self.maySeePersonalData = maySeePersonalData
    subject = context.caller.subject
    route = context.endpointPath ?? ""
    let given = request.headers[.correlationID] ?? ""
    let isUsable = (1...128).contains(given.utf8.count) && given.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    correlationID = isUsable ? given : context.id
    logger = context.logger
  }

  /// Answers for different audiences differ, though the request is the same. Only those with personal data are cached.
  var audience: String { maySeePersonalData ? "" : "without personal data " }

  /// Writes a line to the log: who has read the data of whom. It has no personal data, but for the ids.
  /// - Parameter persons: the ids of the persons, of one page at most; empty for a search that found nobody, or other things.
  func record(_ persons: [String]) {
    guard let subject, maySeePersonalData, searchesPersons || !persons.isEmpty else { return }
    logger.notice(
      "personal data was read",
      metadata: [
        "subject": "\(subject)", "persons": "\(persons.joined(separator: ","))", "route": "\(route)",
        "correlationId": "\(correlationID)",
      ])
  }
}

extension HTTPField.Name {
  fileprivate static let correlationID = HTTPField.Name("X-Correlation-Id")!
}

extension Queries {
  /// Returns the reader of an answer with personal data.
  /// - Parameters:
  ///   - request: The request.
  ///   - context: The context of the request, for its caller.
  ///   - scope: The right to see personal data. Without it, the answer must have none.
  /// - Throws: a `Problem` with status 429 if the caller uses the right more often than `RATE_LIMIT_PER_SCOPE` allows.
  public func reader(_ request: Request, _ context: ServiceContext, _ scope: Scope) throws(Problem) -> Reader {
    Reader(request, context, maySeePersonalData: try context.useIfGranted(scope))
  }

  /// Returns the reader of a history, by the scope that `SealedEvents` names for the category; nil if its events have no
  /// personal data.
  func reader(_ request: Request, _ context: ServiceContext, ofHistoriesOf category: Substring) throws(Problem)
    -> Reader?
  {
    guard let sealing = sealed.first(where: { $0.category == category }) else { return nil }
    guard let scope = sealing.scope else { return Reader(request, context, maySeePersonalData: true) }
    return try reader(request, context, scope)
  }
}
