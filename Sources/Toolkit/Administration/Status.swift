internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import JSON
internal import Machine
internal import Postgres
internal import PostgresEventStore
internal import Projections

/// Shows the state of every projection.
struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the state of every projection: owners, checkpoints, lags, parked streams, generations; and sizes.",
    discussion: """
      The first table has one line for each generation. The second one has the assignments that have no owner, have \
      stopped or are catching up; --assignments shows all of them. A lag is counted up to 100,000 events in each \
      partition. The last two tables have who migrated each schema, with the oldest version that may run beside it, and the \
      sizes of both databases in megabytes, with how much the events of the last 24 hours take. The exit status is 1 if an \
      assignment that is needed has no owner, if an assignment is halted or forked, if a parked stream waits for an \
      operator, if no projector has run a read model yet, if the write store's server keeps its WAL but does not archive it, \
      or if this version is too old for a schema.
      """)

  @Flag(help: "As JSON, with every assignment.") var json = false
  @Flag(help: "Repeats every second until it is interrupted.") var watch = false
  @Flag(help: "Every assignment.") var assignments = false

  func run() async throws {
    try await reportingSettings {
      let stores = try Stores()
      while true {
        let status = try await ProjectionStatus.read(stores.readStore, stores.writeStore, stores.events)
        let sizes = try await Sizes(stores)
        if watch && !json { print("\u{1B}[2J\u{1B}[H", terminator: "") }
        let schemas = try await StoreSchemas(stores)
        let known = Set(status.entries.map(\.generation.projection))
        let missing = stores.projectionNames.filter { !known.contains($0) }
        print(
          json
            ? Self.json(status, schemas, missing, sizes)
            : Self.text(status, schemas, missing, sizes, withAssignments: assignments))
        fflush(nil)
        guard watch else {
          if !status.isSound || !missing.isEmpty || schemas.refusal != nil { throw ExitCode(1) }
          return
        }
        try await Machine.sleep(for: .seconds(1))
      }
    }
  }

  private static func text(
    _ status: ProjectionStatus, _ schemas: StoreSchemas, _ missing: [String], _ sizes: Sizes, withAssignments: Bool
  ) -> String {
    var generations = Table(
      "projection", "gen", "version", "state", "assignments", "modes", "unowned", "lag", "behind", "parked", "retrying")
    var assignments = Table("projection", "gen", "partition", "owner", "mode", "checkpoint", "lag", "behind", "why")
    for entry in status.entries {
      let modes = Dictionary(grouping: entry.assignments, by: \.mode).mapValues(\.count).sorted { $0.key < $1.key }
      generations.add(
        entry.generation.projection, "\(entry.generation.number)", "\(entry.generation.version)",
        entry.generation.until.map { "past, until \($0)" } ?? entry.generation.state.rawValue,
        "\(entry.assignments.count)",
        modes.map { "\($0.value) \($0.key)" }.joined(separator: ", "), "\(entry.unowned)", "\(entry.lag)",
        age(entry.since), "\(entry.parkedStreams)", "\(entry.retryingStreams)")
      for assignment in entry.assignments
      where withAssignments || assignment.owner == nil || assignment.trouble != nil
        || !["live", "done"].contains(assignment.mode)
      {
        assignments.add(
          entry.generation.projection, "\(entry.generation.number)", "\(assignment.partition.index)",
          assignment.owner ?? "nobody",
          assignment.mode, "\(assignment.checkpoint)", "\(assignment.backlog.events)", age(assignment.backlog.since),
          assignment.trouble.map { "position \($0.position): \($0.reason)" } ?? "")
      }
    }
    var workers = Table("worker", "assignments", "runs")
    for worker in status.workers {
      workers.add(worker.name, "\(worker.assignments)", worker.serves.joined(separator: " "))
    }
    let none = "No projector has run yet."
    var parts = [
      "The last position of the write store is \(status.head). "
        + (status.durability == .replicated
          ? "Its commits wait for a standby." : "Its commits are on one server alone.")
        + " \(status.archiving.text)",
      generations.isEmpty ? none : generations.text,
    ]
    if !assignments.isEmpty { parts.append(assignments.text) }
    for projection in missing { parts.append("No projector has run \(projection) yet.") }
    parts += [workers.isEmpty ? "No projector is running." : workers.text, schemas.text, sizes.text]
    return parts.joined(separator: "\n\n")
  }

  private static func age(_ time: Timestamp?) -> String {
    time.map { String(format: "%.1f s", seconds(since: $0)) } ?? "0 s"
  }

  private static func seconds(since time: Timestamp) -> Double {
    max(0, Double(Timestamp.now.microsecondsSince1970 - time.microsecondsSince1970) / 1_000_000)
  }

  private static func json(
    _ status: ProjectionStatus, _ schemas: StoreSchemas, _ missing: [String], _ sizes: Sizes
  ) -> String {
    var json = JSONWriter()
    json.object { json in
      json.member("version", PackageVersion.current.description)
      json.member("schemas") { schemas.write(to: &$0) }
      json.member("head", status.head.rawValue)
      json.member("durability", status.durability.rawValue)
      json.member("archiving", status.archiving.name)
      json.member("sound") { $0.write(status.isSound && missing.isEmpty && schemas.refusal == nil) }
      json.member("neverRun") { $0.array(missing) { $0.write($1) } }
      json.member("sizes") { sizes.write(to: &$0) }
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
            json.member("retryingStreams", Int64(entry.retryingStreams))
            json.member("discardedEvents", Int64(entry.discardedEvents))
            json.member("assignments") { json in
              json.array(entry.assignments) { json, assignment in
                json.object { json in
                  json.member("partition", Int64(assignment.partition.index))
                  json.member("owner") { if let owner = assignment.owner { $0.write(owner) } else { $0.writeNull() } }
                  json.member("mode", assignment.mode)
                  json.member("checkpoint", assignment.checkpoint.rawValue)
                  json.member("lagEvents", assignment.backlog.events)
                  json.member("lagMs", Int64((assignment.backlog.since.map { seconds(since: $0) } ?? 0) * 1000))
                  if let trouble = assignment.trouble {
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
            json.member("assignments", Int64(worker.assignments))
            json.member("runs") { $0.array(worker.serves) { $0.write($1) } }
          }
        }
      }
    }
    return json.string
  }
}

extension ProjectionStatus {
  /// Whether nothing needs an operator's attention.
  var isSound: Bool {
    archiving.isSound
      && entries.allSatisfy { entry in
        entry.parkedStreams == 0
          && entry.assignments.allSatisfy { assignment in
            assignment.trouble == nil && (assignment.owner != nil || [.kept, .past].contains(entry.generation.state))
          }
      }
  }
}

extension Archiving {
  /// Whether the server keeps no WAL that it should have archived.
  fileprivate var isSound: Bool {
    switch self {
    case .off, .on: true
    case .unset, .failing: false
    }
  }

  fileprivate var name: String {
    switch self {
    case .off: "off"
    case .on: "on"
    case .unset: "unset"
    case .failing: "failing"
    }
  }

  fileprivate var text: String {
    switch self {
    case .off: "Its server archives no WAL."
    case .on: "Its server archives its WAL."
    case .unset:
      "Its server keeps all of its WAL and archives none, because archive_mode is on and archive_command is empty: run scripts/backup configure FOLDER, or set archive_mode to off and restart PostgreSQL."
    case .failing(let file, let attempts): "Its server fails to archive \(file); failed attempts so far: \(attempts)."
    }
  }
}
