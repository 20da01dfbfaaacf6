internal import ArgumentParser
internal import HTTPKit
internal import Logging
internal import Observability
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import Reactions
internal import ServiceKit
internal import SettingsKit

/// Both stores, as the administrative subcommands use them.
struct Stores {
  let readStore: PostgresPool
  let writeStore: PostgresPool
  private let urls: (read: String, write: String)
  private let settings: Settings

  var events: PostgresEventStore { PostgresEventStore(writeStore) }

  init(_ settings: Settings = Settings()) throws {
    self.settings = settings
    let program = Administration.current.program
    urls = (try settings[CommonSettings.readDatabaseURL], try settings[CommonSettings.writeDatabaseURL])
    let logger = Logger(label: program) { StreamLogHandler(label: $0, stream: LogLines(), metadataProvider: nil) }
    let pool = { (url: String) in
      PostgresPool(
        // A busy server may take long to accept a connection, and a person can wait.
        PostgresConfiguration(
          url: url, applicationName: program, connectTimeout: .seconds(15), statementTimeout: .seconds(60)),
        limits: .init(size: 4, acquireTimeout: .seconds(30)), logger: logger)
    }
    (readStore, writeStore) = (pool(urls.read), pool(urls.write))
  }

  /// Returns the store with the checkpoints of a projection: a reaction's are in the write store.
  func store(of projection: String) -> PostgresPool { Projection.isReaction(projection) ? writeStore : readStore }
  func url(of projection: String) -> String { Projection.isReaction(projection) ? urls.write : urls.read }

  /// Returns the read models, and the reactions as `reaction/NAME`, with these names; all if there are no names.
  func projections(_ names: [String]) throws -> [Projection] {
    let administration = Administration.current
    let reactions = administration.reactions.map { $0.projection { _, _ in [] } }
    let keys = PersonalKeys(writeStore, try PersonalKeySettings.read(settings))
    let all = administration.readModels(keys) + reactions
    for name in names where !all.contains(where: { $0.name == name }) {
      throw ValidationError(
        "there is no projection '\(name)'; the projections are: \(all.map(\.name).joined(separator: ", "))")
    }
    return all.filter { names.isEmpty || names.contains($0.name) }
  }

  /// The names of all read models, and of the reactions as `reaction/NAME`.
  var projectionNames: [String] {
    let administration = Administration.current
    return administration.readModels(nil).map(\.name)
      + administration.reactions.map { Projection.name(ofReaction: $0.name) }
  }

  /// Returns the parked streams of a projection; nil stands for all.
  func parked(_ projection: String?, _ stream: String? = nil) async throws -> [ParkedStream] {
    var all: [ParkedStream] = []
    for parked in parkedStreams { all += try await parked.list(projection, stream) }
    return all
  }

  /// Those of the read models, and those of the reactions.
  var parkedStreams: [ParkedStreams] {
    [ParkedStreams(readStore, ofReactions: false), ParkedStreams(writeStore, ofReactions: true)]
  }
}
