internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import JSON
internal import PostgresEventStore
internal import Projections

/// Shows how every projection is doing.
struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows how every projection is doing: owners, states, checkpoints, lags, parked streams, generations.",
    discussion: """
      Pairs that are live and have nothing to do are summed up in one line per generation; --pairs shows each. Lags are \
      counted up to 100,000 events a partition. Exit status 1 when a pair that is needed has no owner, has stopped or \
      has forked, or a stream is parked.
      """)

  @Flag(help: "As JSON, with every pair.") var json = false
  @Flag(help: "Again every second, until it is interrupted.") var watch = false
  @Flag(help: "Every pair.") var pairs = false

  func run() async throws {
    try await reportingSettings {
      let stores = try Stores()
      while true {
        let status = try await ProjectionStatus.read(stores.readStore, stores.events)
        if watch && !json { print("\u{1B}[2J\u{1B}[H", terminator: "") }
        let known = Set(status.entries.map(\.generation.projection))
        let missing = Administration.current.readModels(nil).map(\.name).filter { !known.contains($0) }
        print(json ? Self.json(status, missing) : Self.text(status, missing, withPairs: pairs))
        fflush(nil)
        guard watch else {
          if !status.isSound || !missing.isEmpty { throw ExitCode(1) }
          return
        }
        try await Task.sleep(for: .seconds(1))
      }
    }
  }

  private static func text(_ status: ProjectionStatus, _ missing: [String], withPairs: Bool) -> String {
    var generations = Table(
      "projection", "gen", "version", "state", "pairs", "modes", "unowned", "lag", "behind", "parked")
    var pairs = Table("projection", "gen", "partition", "owner", "mode", "checkpoint", "lag", "behind", "why")
    for entry in status.entries {
      let modes = Dictionary(grouping: entry.pairs, by: \.mode).mapValues(\.count).sorted { $0.key < $1.key }
      generations.add(
        entry.generation.projection, "\(entry.generation.number)", "\(entry.generation.version)",
        entry.generation.until.map { "past, until \($0)" } ?? entry.generation.state.rawValue, "\(entry.pairs.count)",
        modes.map { "\($0.value) \($0.key)" }.joined(separator: ", "), "\(entry.unowned)", "\(entry.lag)",
        age(entry.since), "\(entry.parkedStreams)")
      for pair in entry.pairs
      where withPairs || pair.owner == nil || pair.trouble != nil || !["live", "done"].contains(pair.mode) {
        pairs.add(
          entry.generation.projection, "\(entry.generation.number)", "\(pair.partition.index)", pair.owner ?? "nobody",
          pair.mode, "\(pair.checkpoint)", "\(pair.backlog.events)", age(pair.backlog.since),
          pair.trouble.map { "position \($0.position): \($0.reason)" } ?? "")
      }
    }
    var workers = Table("worker", "pairs", "runs")
    for worker in status.workers { workers.add(worker.name, "\(worker.pairs)", worker.serves.joined(separator: " ")) }
    let none = "no projector has run yet"
    var parts = ["The write store ends at position \(status.head).", generations.isEmpty ? none : generations.text]
    if !pairs.isEmpty { parts.append(pairs.text) }
    for projection in missing { parts.append("No projector has run \(projection) yet.") }
    parts.append(workers.isEmpty ? "No projector is running." : workers.text)
    return parts.joined(separator: "\n\n")
  }

  private static func age(_ time: Timestamp?) -> String {
    time.map { String(format: "%.1f s", seconds(since: $0)) } ?? "0 s"
  }

  private static func seconds(since time: Timestamp) -> Double {
    max(0, Double(Timestamp.now.microsecondsSince1970 - time.microsecondsSince1970) / 1_000_000)
  }

  private static func json(_ status: ProjectionStatus, _ missing: [String]) -> String {
    var json = JSONWriter()
    json.object { json in
      json.member("head", status.head.rawValue)
      json.member("sound") { $0.write(status.isSound && missing.isEmpty) }
      json.member("neverRun") { $0.array(missing) { $0.write($1) } }
      json.member("generations") { json in
        json.array(status.entries) { json, entry in
          json.object { json in
            json.member("projection", entry.generation.projection)
            json.member("generation", Int64(entry.generation.number))
            json.member("version", Int64(entry.generation.version))
            json.member("state", entry.generation.state.rawValue)
            json.member("lagEvents", entry.lag)
            json.member("lagMs", Int64((entry.since.map { seconds(since: $0) } ?? 0) * 1000))
            json.member("parkedStreams", Int64(entry.parkedStreams))
            json.member("discardedEvents", Int64(entry.discardedEvents))
            json.member("pairs") { json in
              json.array(entry.pairs) { json, pair in
                json.object { json in
                  json.member("partition", Int64(pair.partition.index))
                  json.member("owner") { if let owner = pair.owner { $0.write(owner) } else { $0.writeNull() } }
                  json.member("mode", pair.mode)
                  json.member("checkpoint", pair.checkpoint.rawValue)
                  json.member("lagEvents", pair.backlog.events)
                  json.member("lagMs", Int64((pair.backlog.since.map { seconds(since: $0) } ?? 0) * 1000))
                  if let trouble = pair.trouble {
                    json.member("stoppedAt", trouble.position.rawValue)
                    json.member("reason", trouble.reason)
                  }
                }
              }
            }
          }
        }
      }
      json.member("workers") { json in
        json.array(status.workers) { json, worker in
          json.object { json in
            json.member("name", worker.name)
            json.member("pairs", Int64(worker.pairs))
            json.member("runs") { $0.array(worker.serves) { $0.write($1) } }
          }
        }
      }
    }
    return json.string
  }
}

extension ProjectionStatus {
  /// Nothing that somebody has to look at.
  var isSound: Bool {
    entries.allSatisfy { entry in
      entry.parkedStreams == 0
        && entry.pairs.allSatisfy { pair in
          pair.trouble == nil && (pair.owner != nil || [.kept, .past].contains(entry.generation.state))
        }
    }
  }
}
