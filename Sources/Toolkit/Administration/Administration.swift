public import ArgumentParser
public import EventSourcing
public import HTTPKit
public import Postgres
public import PostgresEventStore
public import Projections
public import Reactions
internal import ServiceKit
internal import SettingsKit

/// An application from an operator's view: the input of the administrative subcommands.
public struct Administration: Sendable {
  /// The program's name.
  let program: String
  /// Schemas of the write store, in addition to the toolkit's.
  let writeSchemas: [Schema]
  let readModels: @Sendable (PersonalKeys?) -> [Projection]
  let scopes: [Scope]
  /// All of them.
  let reactions: [ReactionDefinition]
  /// All aggregates of which `archive` keeps the states.
  let aggregates: [any Aggregate.Type]

  /// Creates the administration of an application.
  /// - Parameters:
  ///   - program: the program's name, for messages.
  ///   - writeSchemas: schemas of the write store, in addition to the toolkit's.
  ///   - scopes: all scopes that tokens may have.
  ///   - aggregates: every aggregate that a command or a reaction folds, for `archive`: it archives no event of a stream
  ///     whose aggregate it does not know. An aggregate may be contained twice.
  ///   - readModels: returns all read models. It gets the keys of personal data, for read models that show some; nil
  ///     if only the declarations are needed.
  public init(
    program: String, writeSchemas: [Schema] = [], scopes: [Scope] = Scope.common, reactions: [any Reacting] = [],
    aggregates: [any Aggregate.Type] = [],
    readModels: @escaping @Sendable (PersonalKeys?) -> [Projection]
  ) {
    self.program = program
    self.writeSchemas = writeSchemas
    self.readModels = readModels
    self.scopes = scopes
    self.reactions = reactions.map(\.definition)
    self.aggregates = aggregates
  }

  /// All schemas of the write store.
  var writeStoreSchemas: [Schema] { [eventStoreSchema, personalSchema, reactionEngineSchema] + writeSchemas }
  /// All schemas of the read store.
  var readStoreSchemas: [Schema] { [readModelEngineSchema, readModelsSchema(readModels(nil)), erasureLogSchema] }

  /// The administrative subcommands.
  public static let commands: [any ParsableCommand.Type] = [
    Migrate.self, Status.self, Verify.self, Rebuild.self, Parked.self, DeadlinesCommand.self, ArchiveCommand.self,
    RestoreFinished.self, Keys.self, ErasuresCommand.self, Token.self, Healthy.self,
  ]

  @TaskLocal private static var ofProcess: Administration?

  static var current: Administration {
    guard let ofProcess else { preconditionFailure("the subcommands run within Administration.main") }
    return ofProcess
  }

  /// Runs the subcommand that the arguments name, and ends the process.
  /// - Parameter root: the root command, with `commands` among its subcommands.
  public func main(_ root: (some AsyncParsableCommand).Type) async -> Never {
    await Self.$ofProcess.withValue(self) {
      await OperatorProgram.$name.withValue(program) { await root.main(nil) }
    }
    ServiceMain.exit(0)
  }
}
