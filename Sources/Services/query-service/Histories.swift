import Commerce
import CommerceReadModels
import EventSourcing
import Failures
import Foundation
import HTTPTypes
import JSON
import Postgres
import PostgresEventStore
import Projections
import ServiceKit

/// What happened to one thing, and how it was: from the events themselves.
struct Histories: Sendable {
  /// A moment in a stream's life.
  enum Moment: Sendable {
    case version(Version)
    /// The last event that was recorded by then.
    case time(Timestamp)
  }

  /// Events read at a time.
  private static let readSize = 1_000
  /// Events that are folded for one answer.
  private static let longest = 100_000

  let store: PostgresEventStore
  let keys: PersonalKeys

  /// - Parameter pool: on the write store.
  init(_ pool: PostgresPool) {
    store = PostgresEventStore(pool)
    keys = PersonalKeys(pool)
  }

  /// The events of a stream in order, and the version after which more follow; nil for a stream that is not there.
  func events(of stream: StreamID, after version: Version, limit: Int) async throws -> (
    items: [[UInt8]], next: Version?
  )? {
    let events = try await read(stream, after: version, limit: limit + 1)
    guard !events.isEmpty || version > .none else { return nil }
    let key = try await key(of: stream)
    let items = try events.prefix(limit).map { try Self.item($0, key) }
    return (items, events.count > limit ? events[limit - 1].version : nil)
  }

  func order(_ id: String, at moment: Moment) async throws -> Answer? {
    try await fold(Orders(), id, Order.stream(id), moment)
  }

  func product(_ sku: SKU, at moment: Moment) async throws -> Answer? {
    try await fold(Catalogue(), sku.rawValue, Product.stream(sku.rawValue), moment)
  }

  func customer(_ id: String, at moment: Moment) async throws -> Answer? {
    let own = try await reading { try await keys.keys(of: [id]) }
    return try await fold(Customers(keys: nil).opening(with: own), id, Customer.stream(id), moment)
  }

  /// nil where there was nothing at that moment.
  private func fold<Model: ReadModel>(
    _ model: Model, _ key: String, _ stream: StreamID, _ moment: Moment
  ) async throws -> Answer? {
    var (rows, version) = (FoldedRows<Model>(), Version.none)
    func answer() throws -> Answer? {
      try rows[key].map { Answer(bytes: try Model.document(of: $0), version: version.rawValue) }
    }
    while true {
      let events = try await read(stream, after: version, limit: Self.readSize)
      let wanted = events.prefix { event in
        switch moment {
        case .version(let last): event.version <= last
        case .time(let time): event.recordedAt <= time
        }
      }
      try rows.apply(Array(wanted), by: model)
      version = wanted.last?.version ?? version
      guard wanted.count == events.count else { return try answer() }
      guard events.count == Self.readSize else { break }
      guard version.rawValue < Self.longest else {
        throw Problem(
          .unprocessableContent, "history-too-long", title: "The history is too long",
          detail: "More than \(Self.longest) events lie before that moment; ask for an earlier one.")
      }
    }
    // A version that is still to come.
    if case .version(let wanted) = moment, version < wanted { return nil }
    return try answer()
  }

  private func read(_ stream: StreamID, after version: Version, limit: Int) async throws -> [RecordedEvent] {
    try await reading { try await store.events(in: stream, after: version, limit: limit) }
  }

  private func reading<Result>(_ body: () async throws -> Result) async throws -> Result {
    do { return try await body() } catch {
      switch FailureKind(error) {
      case .retry:
        throw Problem.unavailable(
          "The write store cannot be reached or did not answer in time, and it alone has histories; try again in a moment."
        )
      case .refused, .historyChanged, .programmingError: throw error
      }
    }
  }

  private func key(of stream: StreamID) async throws -> PersonalKey? {
    guard stream.category == Customer.category else { return nil }
    let id = String(stream.id)
    return try await reading { try await keys.keys(of: [id])[id] }
  }

  /// An event as it is sent. What is sealed is opened, or left out once its key is gone.
  private static func item(_ event: RecordedEvent, _ key: PersonalKey?) throws -> [UInt8] {
    let metadata = (try? JSON(parsing: event.metadata)) ?? .null
    var json = JSONWriter(reserving: event.data.count + 320)
    try json.object { json in
      json.member("version", event.version.rawValue)
      json.member("at", event.recordedAt.description)
      json.member("type", event.type)
      json.member("schemaVersion", Int64(event.schemaVersion))
      json.member("position", event.position.rawValue)
      json.member("id", event.id.uuidString.lowercased())
      if event.stream.category == Customer.category {
        json.member("data", raw: try opened(event, key).encoded)
      } else {
        json.member("data", raw: event.data)
      }
      json.member("actor", orNull: metadata["actor"]?.string)
      json.member("correlationId", orNull: metadata["correlationId"]?.string)
      json.member("causationId", orNull: metadata["causationId"]?.string)
    }
    return json.bytes
  }

  private static func opened(_ event: RecordedEvent, _ key: PersonalKey?) throws -> JSON {
    guard case .object(var members) = try JSON(parsing: event.data) else { return .null }
    guard let place = members.firstIndex(where: { $0.name == "sealed" }), let sealed = members[place].value.string
    else { return .object(members) }
    members.remove(at: place)
    if let key {
      let personal = try PersonalData(parsing: key.open(sealed, of: String(event.stream.id)))
      if let name = personal.name { members.append(.init("name", .string(name))) }
      if let email = personal.email { members.append(.init("email", .string(email))) }
    }
    return .object(members)
  }
}
