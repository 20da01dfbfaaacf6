public import EventSourcing
internal import Failures
internal import Foundation
public import HTTPKit
internal import HTTPTypes
public import JSON
internal import Postgres
public import PostgresEventStore
public import Projections

/// The events of one category, whose personal data is sealed with the key of the person that the stream's id names.
public struct SealedEvents: Sendable {
  let category: String
  /// The member of the events' data that is sealed.
  let member: String
  /// The right to see it; nil if every reader of histories may.
  let scope: Scope?
  let open: @Sendable ([UInt8]) throws -> [JSON.Member]

  /// Names the events with personal data, and how they are opened.
  /// - Parameters:
  ///   - category: the category of the streams.
  ///   - member: the member of the events' data that is sealed.
  ///   - scope: the right to see it; nil if everybody may who reads histories. A caller without it gets histories without
  ///     the member.
  ///   - open: returns the members that replace it, from the bytes that were sealed.
  public init(
    _ category: String, member: String, scope: Scope? = nil, open: @escaping @Sendable ([UInt8]) throws -> [JSON.Member]
  ) {
    self.category = category
    self.member = member
    self.scope = scope
    self.open = open
  }
}

/// Reads what happened to one thing, and its state at a moment, from its events.
public struct Histories: Sendable {
  /// A moment in a stream's life.
  public enum Moment: Sendable {
    /// After the event with this version.
    case version(Version)
    /// After the last event that was recorded at or before this time.
    case time(Timestamp)
    /// The moment of the query.
    case now
  }

  /// The most events that are read at a time.
  private static let readSize = 1_000
  /// The most events that are folded for one answer.
  private static let longest = 100_000

  private let store: any StreamStore
  /// nil if no events have personal data.
  private let keys: PersonalKeys?
  private let sealed: [SealedEvents]

  /// - Parameters:
  ///   - pool: a pool on the write store.
  ///   - keys: the keys of personal data.
  ///   - sealed: the events with personal data.
  init(_ pool: PostgresPool, _ keys: PersonalKeys, sealed: [SealedEvents]) {
    (store, self.sealed) = (PostgresEventStore(pool), sealed)
    self.keys = sealed.isEmpty ? nil : keys
  }

  /// Histories without personal data.
  init(_ store: any StreamStore) { self.init(store, nil, []) }

  private init(_ store: any StreamStore, _ keys: PersonalKeys?, _ sealed: [SealedEvents]) {
    (self.store, self.keys, self.sealed) = (store, keys, sealed)
  }

  /// The same histories, with the sealed data left out as if it were erased.
  var closed: Histories { Histories(store, nil, sealed) }

  /// Returns events of a stream in order, and the version after which more follow; nil if the stream does not exist.
  func events(of stream: StreamID, after version: Version, limit: Int) async throws -> (
    items: [[UInt8]], next: Version?
  )? {
    let events = try await read(stream, after: version, limit: limit + 1)
    guard !events.isEmpty || version > .none else { return nil }
    let key = try await key(of: stream)
    let items = try events.prefix(limit).map { try item($0, key) }
    return (items, events.count > limit ? events[limit - 1].version : nil)
  }

  /// Returns a row as it was at a moment, or nil if there was none.
  /// - Parameters:
  ///   - key: the key of the row.
  ///   - stream: the stream whose events make the row.
  ///   - moment: the moment.
  ///   - makeModel: makes the read model. It gets the store of the keys that open personal data; nil if no events have
  ///     any.
  /// - Throws: a `Problem` if more than 100,000 events come before the moment.
  public func row<Model: ReadModel>(
    _ key: String, of stream: StreamID, at moment: Moment, _ makeModel: (PersonalKeys?) -> Model
  ) async throws -> QueryResult? {
    let model = makeModel(keys)
    var (rows, version) = (FoldedRows<Model>(), Version.none)
    func answer() throws -> QueryResult? {
      try rows[key].map { QueryResult(bytes: try Model.document(of: $0), version: version.rawValue) }
    }
    while true {
      let events = try await read(stream, after: version, limit: Self.readSize)
      let wanted = Array(
        events.prefix { event in
          switch moment {
          case .version(let last): event.version <= last
          case .time(let time): event.recordedAt <= time
          case .now: true
          }
        })
      try rows.apply(wanted, by: try await reading { try await model.prepared(for: wanted, until: nil) })
      version = wanted.last?.version ?? version
      guard wanted.count == events.count else { return try answer() }
      guard events.count == Self.readSize else { break }
      guard version.rawValue < Self.longest else {
        throw Problem(
          .unprocessableContent, "history-too-long", title: "The history is too long",
          detail: "More than \(Self.longest) events lie before that moment; ask for an earlier one.")
      }
    }
    // The stream does not have this version yet.
    if case .version(let wanted) = moment, version < wanted { return nil }
    return try answer()
  }

  private func read(_ stream: StreamID, after version: Version, limit: Int) async throws -> [RecordedEvent] {
    try await reading { try await store.events(in: stream, after: version, limit: limit) }
  }

  private func reading<Result>(_ body: () async throws -> Result) async throws -> Result {
    do { return try await body() } catch let error as UnreadablePersonalKey {
      // It has another cause than the one below, and the log says which.
      throw error
    } catch {
      if case .archived(let reason) = error as? EventStoreError { throw Problem.archived(reason) }
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
    guard let keys, sealed(stream) != nil else { return nil }
    let id = String(stream.id)
    return try await reading { try await keys.keys(of: [id])[id] }
  }

  private func sealed(_ stream: StreamID) -> SealedEvents? { sealed.first { $0.category == stream.category } }

  /// Returns an event as it is sent. Sealed data is opened, or left out if its key was erased.
  private func item(_ event: RecordedEvent, _ key: PersonalKey?) throws -> [UInt8] {
    let metadata = (try? JSON(parsing: event.metadata)) ?? .null
    var json = JSONWriter(reserving: event.data.count + 320)
    try json.object { json in
      json.member("version", event.version.rawValue)
      json.member("at", event.recordedAt.description)
      json.member("type", event.type)
      json.member("schemaVersion", Int64(event.schemaVersion))
      json.member("position", event.position.rawValue)
      json.member("id", event.id.uuidString.lowercased())
      if let sealed = sealed(event.stream) {
        json.member("data", raw: try opened(event, sealed, key).encoded)
      } else {
        json.member("data", raw: event.data)
      }
      json.member("actor", orNull: metadata["actor"]?.string)
      json.member("correlationId", orNull: metadata["correlationId"]?.string)
      json.member("causationId", orNull: metadata["causationId"]?.string)
    }
    return json.bytes
  }

  private func opened(_ event: RecordedEvent, _ sealing: SealedEvents, _ key: PersonalKey?) throws -> JSON {
    guard case .object(var members) = try JSON(parsing: event.data) else { return .null }
    guard let place = members.firstIndex(where: { $0.name == sealing.member }), let sealed = members[place].value.string
    else { return .object(members) }
    members.remove(at: place)
    if let key { members += try sealing.open(key.open(sealed, of: String(event.stream.id))) }
    return .object(members)
  }
}

extension Problem {
  /// A query needs events that are archived.
  static func archived(_ reason: String) -> Problem {
    Problem(
      .serviceUnavailable, "events-archived", title: "The events are archived",
      detail: "An operator can bring them back: \(reason).", headers: [.retryAfter: "60"], isLogged: false)
  }
}
