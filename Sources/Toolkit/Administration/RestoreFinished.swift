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

      The restored store has the keys of persons who were erased after the backup. This command erases them again before \
      anything can be appended: the read store has a log of erasures. If the read store is lost too, use \
      --without-erasures, and then '\(Administration.current.program) erasures import' and 'erasures repeat'.

      First stop everything that still uses the old server.
      """)

  @Flag(
    help: "Keep the history id: no acknowledged event was lost, as after a failover to a synchronous standby.")
  var nothingLost = false

  @Flag(help: "Erase nobody again: the read store, which has the log of erasures, is lost.")
  var withoutErasures = false

  func run() async throws {
    try await reportingSettings {
      let settings = Settings()
      let connection = try await connectPatiently(
        PostgresConfiguration(
          url: try settings[CommonSettings.writeDatabaseURL], applicationName: Administration.current.program),
        for: .seconds(30))
      let undone = nothingLost || withoutErasures ? [] : try await Self.undoneErasures(settings)
      let (historyID, head) = try await PostgresEventStore.declareRestored(
        losingNothing: nothingLost, repeating: undone, connection)
      await connection.close()
      if !undone.isEmpty { print("\(undone.count) persons whose erasure was lost are erased again.") }
      print(
        "The history id of the write store is \(historyID.uuidString.lowercased()). Its last position is \(head).")
    }
  }

  /// Returns the erasures that the log has, and the restored store does not.
  private static func undoneErasures(_ settings: Settings) async throws -> [Erasure] {
    let stores = try Stores(settings)
    do { return try await ErasureLog(stores.readStore).missing(in: Erasures(stores.writeStore)) } catch {
      throw ValidationError(
        "the log of erasures in the read store cannot be read, and nothing was changed: \(error). If the read store is "
          + "lost, use --without-erasures, and then import and repeat the erasures of your last export")
    }
  }
}
