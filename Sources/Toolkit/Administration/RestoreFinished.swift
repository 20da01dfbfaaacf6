internal import ArgumentParser
internal import EventSourcing
internal import FoundationEssentials
internal import Postgres
internal import PostgresEventStore
internal import ServiceKit

/// Declares that a restore or move of the write store is finished.
struct RestoreFinished: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore-finished",
    abstract: "Declares that a restore or move of the write store is finished.",
    discussion: """
      After a restore to an earlier time the same positions will be given to other events. Services that find the \
      write store on another server or timeline, or without an event that they have seen, append nothing until \
      this has been run. It gives the store a new history id: projections that had come further than the restored \
      store stop as forked until they are rebuilt.

      Stop everything that still uses the old server first.
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
        "the history id of the write store is \(historyID.uuidString.lowercased()), and it ends at position \(head)")
    }
  }
}
