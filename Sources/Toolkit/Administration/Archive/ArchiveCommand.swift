internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import PostgresEventStore
internal import Projections
internal import SettingsKit

/// Moves old events out of the write store into files, and back.
struct ArchiveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "archive",
    abstract: "Moves old events out of the write store into files, and back.",
    discussion: """
      --before moves the first partitions of events into files, as long as a partition's last event is older than that \
      time, every projection and feed has passed it, and no stream is parked in it. First it saves a snapshot of every \
      stream in the partition, so that commands still find the streams' states. The exit status is 1 if an older \
      partition has to stay; a line says why.

      Whoever needs archived events gets an error that names the position for --attach: rebuilds, verify, histories. \
      --attach reads the files back, as far as that position. Archive again when the work is done.

      A bucket needs AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT_URL_S3 names another object \
      store than Amazon's.

      Run it again if it is interrupted: nothing is lost, and no work is done twice.
      """)

  @Option(help: "Archive events from before this time, such as 2026-01-01T00:00:00Z.") var before: String?
  @Option(help: "The folder for the files, which must exist, or s3://BUCKET/PREFIX.") var to: String?
  @Flag(help: "Change nothing: say what would be archived, and what has to stay.") var dryRun = false
  @Option(help: "Read the events from this position on back into the store.") var attach: Int64?
  @Option(help: "Where the files are; by default where they were written.") var from: String?

  func validate() throws {
    guard (before == nil) != (attach == nil) else { throw ValidationError("use either --before or --attach") }
    guard (before == nil) == (to == nil) else {
      throw ValidationError("--before needs --to, which names a folder or a bucket")
    }
    if attach != nil, dryRun { throw ValidationError("--dry-run belongs to --before") }
    if from != nil, attach == nil { throw ValidationError("--from belongs to --attach") }
    if let attach, attach < 1 { throw ValidationError("--attach takes a position, from 1") }
    if let before, Timestamp(before) == nil {
      throw ValidationError("--before takes a time such as 2026-01-01T00:00:00Z")
    }
  }

  func run() async throws {
    try await reportingSettings {
      let stores = try Stores()
      let archive = Archive(stores.writeStore)
      if !dryRun { try await archive.dropDetached() }
      if let attach {
        try await Attaching(archive: archive, place: from).attach(from: attach)
      } else if let to, let time = before.flatMap({ Timestamp($0) }) {
        let isDone = try await withStorage(to) { storage in
          try await Archiving(stores: stores, archive: archive, storage: storage, isDryRun: dryRun).archive(
            before: time)
        }
        guard isDone else { throw ExitCode(1) }
      }
    }
  }
}

/// Calls `body` with a folder or a bucket.
private func withStorage<Result>(_ place: String, _ body: (any ArchiveStorage) async throws -> Result) async throws
  -> Result
{
  guard place.hasPrefix("s3://") else { return try await body(ArchiveFolder(place)) }
  let bucket = try S3Bucket(place, Settings())
  do {
    let result = try await body(bucket)
    try await bucket.close()
    return result
  } catch {
    try? await bucket.close()
    throw error
  }
}

private struct Archiving {
  let stores: Stores
  let archive: Archive
  let storage: any ArchiveStorage
  let isDryRun: Bool

  /// - Returns: false if a partition has to stay although its events are older.
  func archive(before time: Timestamp) async throws -> Bool {
    var moved = 0
    while let part = try await archive.firstPart(), let endedAt = part.endedAt, endedAt < time {
      if let obstacle = try await obstacle(to: part) {
        print("Positions \(part.lower) to \(part.upper - 1) stay: \(obstacle).")
        return false
      }
      let missing = try await archive.cover(part, Administration.current.aggregates, isDryRun: isDryRun)
      guard !isDryRun else {
        print(
          "Positions \(part.lower) to \(part.upper - 1) would be archived, after \(missing) more snapshots. Later ones were not looked at."
        )
        return true
      }
      let file = try await archive.write(part, to: storage)
      // The log of erasures keeps their events, which are about to leave the store.
      _ = try await ErasureLog(stores.readStore).copy(from: Erasures(stores.writeStore))
      // A rebuild may have begun since.
      var found = try await obstacle(to: part)
      if found == nil { found = try await archive.detach(file) }
      if let found {
        print("Positions \(part.lower) to \(part.upper - 1) stay: \(found).")
        return false
      }
      print(
        "Archived positions \(part.lower) to \(part.upper - 1) in \(file.location)/\(file.name), \(missing) snapshots.")
      moved += 1
    }
    if moved == 0 { print("No whole partition of events is older than \(time).") }
    if try await !archive.dropDetached() {
      print("A long transaction still reads archived events. The next run frees their space.")
    }
    return true
  }

  private func obstacle(to part: Archive.Part) async throws -> String? {
    if let obstacle = try await archive.obstacle(to: part) { return obstacle }
    let (upper, heads) = (Position(part.upper), try await archive.heads(of: part))
    for name in stores.projectionNames where !Projection.isReaction(name) {
      if try await Generations(stores.readStore).all(of: [name]).isEmpty {
        return "no projector has run \(name) yet"
      }
    }
    if let obstacle = try await ArchiveObstacle.find(
      in: stores.readStore, before: upper, heads: heads, of: { !Projection.isReaction($0) })
    {
      return obstacle
    }
    return try await ArchiveObstacle.find(
      in: stores.writeStore, before: upper, heads: heads, of: Projection.isReaction)
  }
}

private struct Attaching {
  let archive: Archive
  /// nil for the one that the files were written to.
  let place: String?

  func attach(from position: Int64) async throws {
    let files = try await archive.files().filter { $0.upper > position }
    guard !files.isEmpty else {
      print("The events from position \(position) on are in the store.")
      return
    }
    // The last partition comes first, so that the events in the store always have no gap.
    for file in files {
      try await withStorage(place ?? file.location) { try await archive.attach(file, from: $0) }
      print("Positions \(file.lower) to \(file.upper - 1) are in the store again.")
    }
  }
}
