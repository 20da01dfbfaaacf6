public import Commerce
internal import EventSourcing
public import JSON
public import Projections

/// The read model of returns: one row per return, with the data of its event.
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

  /// Encodes the row like the stored event, which leaves out nil members.
  public static func encode(_ row: ReturnRecorded, into json: inout JSONWriter) throws {
    try json.write(encoding: row)
  }
}
