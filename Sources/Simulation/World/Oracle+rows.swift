internal import EventSourcing
internal import FoundationEssentials
internal import JSON
internal import PostgresEventStore
internal import Projections

// Whether rows and ledgers are what the events give.
extension Oracle {
  /// The generations that serve show what their events give.
  func rows() -> [String] {
    var found: [String] = []
    do {
      var balances = FoldedRows(of: Balances.self)
      var statement = FoldedRows(of: Statement.self)
      let keys = world.writeStore.contents.personalKeys
      let model = Balances(
        opening: keys.compactMapValues { $0.map { PersonalKey($0, in: events.historyID) } })
      for event in events.events {
        try balances.apply([event], by: model)
        try statement.apply([event], by: Statement(version: 1))
      }
      found += try compare("balances", balances, Balances.self)
      found += try compare("statement", statement, Statement.self)
      let money = balances.keys.reduce(0) { $0 + (balances[$1.text]?.balance ?? 0) }
      if let serving = models.serving("balances") {
        let all = models.rows.sums["read_models.balance_sums_g\(serving.number)"] ?? [:]
        let sums = all.values.reduce([Int64(0), 0]) { [$0[0] + $1[0], $0[1] + $1[1]] }
        if sums != [Int64(balances.keys.count), money] {
          found.append("the totals are \(sums), and \([Int64(balances.keys.count), money]) by the events")
        }
      }
    } catch { found.append("rows cannot be compared: \(error)") }
    return found
  }

  private func compare<Model: ReadModel>(_ name: String, _ expected: FoldedRows<Model>, _: Model.Type) throws
    -> [String]
  {
    guard let serving = models.serving(name) else { return ["\(name) does not serve"] }
    let stored = models.rows.rows["read_models.\(name)_g\(serving.number)"] ?? [:]
    var found: [String] = []
    if Set(stored.keys) != expected.keys {
      found.append("\(name) has \(stored.count) rows, and \(expected.keys.count) by the events")
    }
    for (key, row) in stored.sorted(by: { $0.key.text < $1.key.text }) {
      guard let own = expected[key.text] else { continue }
      let document = try Model.document(of: own)
      if document != row.document {
        found.append(
          "\(name) \(key.text) is \(String(decoding: row.document, as: UTF8.self)), and \(String(decoding: document, as: UTF8.self)) by the events"
        )
      }
    }
    return found
  }

  /// Every generation that serves has counted each event once.
  func ledgers() -> [String] {
    var found: [String] = []
    for (tables, names) in [
      (models, ["balances", "statement"]), (reactions, ["reaction/announce", "reaction/collect", "reaction/deliver"]),
    ] {
      for name in names {
        guard let serving = tables.serving(name), let generation = tables.generations[serving] else { continue }
        var expected: [Int: Ledger.Entry] = [:]
        for event in events.events
        where event.position > generation.from && event.stream.category == Account.category {
          let index = generation.partitioning.partition(of: event.stream).index
          expected[index, default: .init()].count += 1
          expected[index]!.ids ^= withUnsafeBytes(of: event.id.uuid) {
            Int64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: Int64.self))
          }
        }
        let applied = tables.applied(serving)
        if applied != expected {
          found.append(
            "\(name) has applied \(applied.values.reduce(0) { $0 + $1.count }) events of \(expected.values.reduce(0) { $0 + $1.count })"
          )
        }
      }
    }
    return found
  }

  /// Nothing of an erased person can be read any more: neither the stores' rows nor the events have it, and the key is gone.
  func erasures() -> [String] {
    var found: [String] = []
    let erased = Set(events.events.filter { $0.type == "PersonalDataErased" }.map { String($0.stream.id) })
    for account in erased.sorted() {
      if case .some(.some) = world.writeStore.contents.personalKeys[account] {
        found.append("the key of \(account) is there after its erasure")
      }
      let plain = Array(world.owner(of: account, "").utf8)
      let rows = models.serving("balances").flatMap { models.rows.rows["read_models.balances_g\($0.number)"] } ?? [:]
      if rows.values.contains(where: { $0.document.contains(plain) }) {
        found.append("balances has the owner of \(account) after the erasure")
      }
      if events.events.contains(where: { $0.data.contains(plain) }) {
        found.append("an event has the owner of \(account) in plain text")
      }
    }
    return found
  }
}
