package import EventSourcing
package import FoundationEssentials
package import HTTPKit
package import Hummingbird
package import JSON

/// What command routes use of `Commands`, whatever the store.
package protocol CommandEndpoint: Sendable {
  func body(of request: Request, isOptional: Bool) async throws -> (JSON, [UInt8])

  func create(
    _ command: some Command, _ path: String, _ id: String, _ request: Request, _ body: [UInt8], by caller: Caller,
    in historyID: UUID?
  ) async throws -> Response

  func change(
    _ command: some Command, _ id: String, _ request: Request, _ body: [UInt8], by caller: Caller,
    in historyID: UUID?, extra: (@Sendable (inout JSONWriter) -> Void)?
  ) async throws -> Response
}

extension Commands: CommandEndpoint {}
