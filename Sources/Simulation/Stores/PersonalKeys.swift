internal import EventSourcing
internal import PostgresEventStore

/// The keys of persons as one process reaches them, over a link.
struct SimulatedPersonalKeys: PersonalKeyTable {
  private let link: Link
  private let database: Database

  init(_ link: Link, _ database: Database) { (self.link, self.database) = (link, database) }

  func add(_ key: [UInt8], of person: String) async throws -> StoredPersonalKey? {
    try await link.ask(isWrite: true) { [database] in
      let stored = database.contents.personalKeys[person] ?? key
      database.contents.personalKeys.updateValue(stored, forKey: person)
      return stored.map { StoredPersonalKey(bytes: $0, historyID: database.contents.events.historyID) }
    }
  }

  func discard(of person: String, events stream: String) async throws {
    try await link.ask(isWrite: true) { [database] in
      guard database.contents.events.events.allSatisfy({ "\($0.stream)" != stream }) else { return }
      if case .some(.some) = database.contents.personalKeys[person] { database.contents.personalKeys[person] = nil }
    }
  }

  func keys(of persons: [String]) async throws -> [String: StoredPersonalKey] {
    try await link.ask { [database] in
      persons.reduce(into: [:]) { found, person in
        guard let bytes = database.contents.personalKeys[person] ?? nil else { return }
        found[person] = StoredPersonalKey(bytes: bytes, historyID: database.contents.events.historyID)
      }
    }
  }
}
