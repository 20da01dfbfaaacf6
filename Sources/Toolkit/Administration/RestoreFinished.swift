internal import ArgumentParser
internal import EventSourcing
internal import FoundationEssentials
internal import Postgres
internal import PostgresEventStore
internal import ServiceKit
internal import SettingsKit

/// Declares that a restore or move of the write store is finished.
struct RestoreFinished: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore-finished",
    abstract: "Declares that a restore or move of the write store is finished.",
    discussion: """
      After a restore to an earlier time, other events get the positions of those that were lost. A service that finds \
      the write store on another server or timeline, or without an event that it has seen, appends nothing until you run \
      this command. It gives the store a new history id. A projection that was ahead of the restored store stops as \
      forked until you rebuild it.

      First stop everything that still uses the old server.
      """)

  @Flag(
    help: "Keep the history id: no acknowledged event was lost, as after a failover to a synchronous standby.")
  var nothingLost = false

  func run() async throws {
    try await reportingSettings {
      let connection = try await connectPatiently(
        PostgresConfiguration(
          url: try Settings()[CommonSettings.writeDatabaseURL], applicationName: Administration.current.program),
        for: .seconds(30))
      let (historyID, head) = try await PostgresEventStore.declareRestored(losingNothing: nothingLost, connection)
      await connection.close()
      print(
        "The history id of the write store is \(historyID.uuidString.lowercased()). Its last position is \(head).")
    }
  }
}
