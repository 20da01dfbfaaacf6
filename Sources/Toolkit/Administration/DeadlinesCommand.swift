internal import ArgumentParser
internal import Foundation
internal import JSON
internal import Postgres
internal import PostgresEventStore

/// Commands that are scheduled for later.
struct DeadlinesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "deadlines", abstract: "Lists, retries and discards scheduled commands.",
    discussion: """
      A scheduled command that was rejected, or that could not be carried out, is kept and not tried again. Repair the \
      cause, then retry it. A command that is discarded never runs.
      """, subcommands: [List.self, Retry.self, Discard.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Counts the scheduled commands, and lists those that failed.",
      discussion: "The exit status is 1 if any has failed.")
    @Option(help: "The maximum number of failed commands to list.") var limit = 100
    @Flag(help: "As JSON.") var json = false

    func run() async throws {
      try await reportingSettings {
        let pool = try Stores().writeStore
        let counts = try await pool.query(
          """
          select count(*) filter (where failed_at is null),
            count(*) filter (where failed_at is null and due_at <= clock_timestamp()),
            count(*) filter (where failed_at is not null)
          from event_store.deadlines
          """
        ).decode((Int, Int, Int).self)
        let (waiting, overdue, failed) = counts.first ?? (0, 0, 0)
        let rows = try await pool.query(
          """
          select id, command, due_at::text, failed_at::text, coalesce(error, ''), data::text from event_store.deadlines
          where failed_at is not null order by failed_at, id limit \(limit)
          """
        ).decode((UUID, String, String, String, String, String).self)
        if json {
          var json = JSONWriter()
          json.object { json in
            json.member("waiting", Int64(waiting))
            json.member("overdue", Int64(overdue))
            json.member("failed", Int64(failed))
            json.member("failures") { json in
              json.array(rows) { json, row in
                json.object { json in
                  json.member("id", row.0.uuidString.lowercased())
                  json.member("command", row.1)
                  json.member("dueAt", row.2)
                  json.member("failedAt", row.3)
                  json.member("error", row.4)
                  json.member("data", row.5)
                }
              }
            }
          }
          print(json.string)
        } else {
          let late = try await pool.query(
            """
            select command, count(*), coalesce(max(error), '') from event_store.deadlines
            where failed_at is null and due_at < clock_timestamp() - interval '10 seconds' group by command order by command
            """
          ).decode((String, Int, String).self)
          for (command, count, error) in late {
            print(
              "\(command): \(count) commands have been due for more than 10 s\(error.isEmpty ? "" : "; error: \(error)")"
            )
          }
          print("Scheduled commands: \(waiting) wait, of which \(overdue) are due; \(failed) failed.")
          if !rows.isEmpty {
            var table = Table("id", "command", "due", "failed", "error")
            for row in rows { table.add(row.0.uuidString.lowercased(), row.1, row.2, row.3, String(row.4.prefix(100))) }
            print("\n\(table.text)")
          }
        }
        if failed > 0 { throw ExitCode(1) }
      }
    }
  }

  struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Runs failed commands again, now.")
    @Argument(help: "The id of the command.") var id: String?
    @Flag(help: "Every command that failed.") var all = false

    func validate() throws {
      guard (id != nil) != all else { throw ValidationError("give an id, or --all") }
    }

    func run() async throws {
      try await DeadlinesCommand.change(id, "will run again") {
        """
        update event_store.deadlines set failed_at = null, error = null
        where failed_at is not null and (\(optional: $0)::uuid is null or id = \(optional: $0))
        """
      }
    }
  }

  struct Discard: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Discards a command that failed, or that has been due for a minute.")
    @Argument(help: "The id of the command.") var id: String

    func run() async throws {
      try await DeadlinesCommand.change(id, "discarded") {
        """
        delete from event_store.deadlines
        where id = \(optional: $0) and (failed_at is not null or due_at < clock_timestamp() - interval '1 minute')
        """
      }
    }
  }

  private static func change(_ text: String?, _ outcome: String, _ query: (UUID?) -> Query) async throws {
    let id = try text.map { text in
      guard let id = UUID(uuidString: text) else {
        throw ValidationError("'\(text)' is not an id of a scheduled command")
      }
      return id
    }
    try await reportingSettings {
      let count = try await Stores().writeStore.query(query(id)).affectedRows
      guard count > 0 else { throw ValidationError("nothing was changed: no such command has failed") }
      print("\(count) scheduled commands \(outcome)")
    }
  }
}
