internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import JSON
internal import Postgres
internal import PostgresEventStore
internal import Projections

/// Proves that the read tables include every event, and match the events.
struct Verify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compares every row of the read tables with the events.",
    discussion: """
      Completeness: for each partition and block of 65,536 positions the number and the ids of the events that were \
      applied, wait with a parked stream, or were given up, against the store's. Correctness: the events are folded \
      anew, and every row compared. It may run while the system works; what it says is true of the moment at which it \
      began. Exit status 1 when anything differs.
      """)

  @Argument(help: "Only these projections.") var projections: [String] = []
  @Option(help: "Check this many random partitions instead of all.") var sample: Int?
  @Flag(help: "Check every generation, not only the serving one.") var allGenerations = false
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
          throw ValidationError("\(projection.name) has no generation that serves: has a projector run?")
        }
        for generation in generations {
          guard generation.version == projection.version else {
            throw ValidationError(
              "\(projection.name) is served by version \(generation.version), this program is version \(projection.version)"
            )
          }
          let partitions = sample.map { Set(generation.partitioning.partitions.map(\.index).shuffled().prefix($0)) }
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
    if missing != 0 { lines.append("The write store lacks \(missing) positions between 1 and its head.") }
    for result in results where !result.holds {
      lines.append("\(result.projection), generation \(result.generation):")
      lines += result.findings.map { "  " + $0 }
      if result.findingCount > result.findings.count {
        lines.append("  and \(result.findingCount - result.findings.count) more")
      }
    }
    if missing == 0, results.allSatisfy(\.holds) { lines.append("Everything is there, and as it should be.") }
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
