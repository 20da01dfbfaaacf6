internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import JSON
internal import Machine
internal import Postgres
internal import PostgresEventStore
internal import Projections

/// Proves that the read tables include every event, and match the events.
struct Verify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compares every row of the read tables with the events.",
    discussion: """
      Completeness: verify counts the events that were applied, that wait in a parked stream, and that were discarded. It \
      compares their number and ids with the store's, for each partition and each block of 65,536 positions. \
      Correctness: it folds the events again and compares every row. It may run while the system works; the result \
      describes the moment at which it began. The exit status is 1 if anything differs.
      """)

  @Argument(help: "Only these projections.") var projections: [String] = []
  @Option(help: "Compare the rows of this many random partitions of each projection, instead of all.") var sample: Int?
  @Flag(help: "Check every generation of this version, not only the one that serves.") var allGenerations = false
  @Flag(help: "As JSON.") var json = false

  func validate() throws {
    if let sample, sample < 0 { throw ValidationError("--sample takes a number of partitions") }
  }

  func run() async throws {
    try await reportingSettings {
      let stores = try Stores()
      let chosen = try stores.projections(projections)
      var results: [Verification] = []
      for projection in chosen {
        let all = try await Generations(stores.store(of: projection.name)).all(of: [projection.name])
        let generations = all.filter {
          allGenerations ? $0.version == projection.version : $0.state == .serving
        }
        guard !generations.isEmpty else {
          throw ValidationError(
            "\(projection.name) has no generation that serves: start a projector, which creates the first one")
        }
        for generation in generations {
          guard generation.version == projection.version else {
            throw ValidationError(
              "version \(generation.version) of \(projection.name) serves, but this program has version \(projection.version): run the program of that version"
            )
          }
          var chance = Machine.chance
          let indexes = generation.partitioning.partitions.map(\.index).shuffled(using: &chance)
          let partitions = sample.map { Set(indexes.prefix($0)) }
          let connection = try await connectPatiently(
            PostgresConfiguration(
              url: stores.url(of: projection.name), applicationName: "\(Administration.current.program) verify",
              statementTimeout: .seconds(600)),
            for: .seconds(30))
          results.append(
            try await Verification.verify(projection, generation, on: connection, stores.events, partitions: partitions)
          )
          await connection.close()
        }
      }
      let missing = try await stores.events.missingPositions()
      print(json ? Self.json(results, missing) : Self.text(results, missing))
      if missing != 0 || results.contains(where: { !$0.holds }) { throw ExitCode(1) }
    }
  }

  static func text(_ results: [Verification], _ missing: Int64) -> String {
    var table = Table("projection", "gen", "events", "rows", "partitions replayed", "waiting", "discarded", "wrong")
    for result in results {
      table.add(
        result.projection, "\(result.generation)", "\(result.events)", "\(result.rows)", "\(result.partitionsReplayed)",
        "\(result.waiting)", "\(result.discarded)", "\(result.findingCount)")
    }
    var lines = [table.text]
    if missing != 0 {
      lines.append("The write store has no event at \(missing) of the positions from 1 to its last one.")
    }
    for result in results where !result.holds {
      lines.append("\(result.projection), generation \(result.generation):")
      lines += result.findings.map { "  " + $0 }
      if result.findingCount > result.findings.count {
        lines.append("  and \(result.findingCount - result.findings.count) more")
      }
    }
    if missing == 0, results.allSatisfy(\.holds) {
      lines += [
        "Complete: every event up to the checkpoints is applied, waits in a parked stream, or was discarded.",
        "Correct: every compared row is equal to the row folded from its events.",
      ]
    }
    return lines.joined(separator: "\n")
  }

  static func json(_ results: [Verification], _ missing: Int64) -> String {
    var json = JSONWriter()
    json.object { json in
      json.member("holds") { $0.write(missing == 0 && results.allSatisfy(\.holds)) }
      json.member("missingPositions", missing)
      json.member("projections") { json in
        json.array(results) { json, result in
          json.object { json in
            json.member("projection", result.projection)
            json.member("generation", Int64(result.generation))
            json.member("events", result.events)
            json.member("rows", Int64(result.rows))
            json.member("partitionsReplayed", Int64(result.partitionsReplayed))
            json.member("waitingEvents", Int64(result.waiting))
            json.member("discardedEvents", Int64(result.discarded))
            json.member("wrong", Int64(result.findingCount))
            json.member("findings") { $0.array(result.findings) { $0.write($1) } }
          }
        }
      }
    }
    return json.string
  }
}
