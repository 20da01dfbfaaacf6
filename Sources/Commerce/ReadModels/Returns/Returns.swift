public import Commerce
public import JSON
public import Projections

/// One row a return: its event.
public struct Returns: ReadModel {
  public let name = "returns"
  public let version = 1

  public let sources = [
    RowSource<ReturnRecorded>(Return.self) { event, row in
      switch event.event {
      case .recorded(let recorded): row = recorded
      }
    }
  ]

  public init() {}

  /// As the event is stored: what it does not have is left out.
  public static func encode(_ row: ReturnRecorded, into json: inout JSONWriter) throws {
    try json.write(encoding: row)
  }
}
