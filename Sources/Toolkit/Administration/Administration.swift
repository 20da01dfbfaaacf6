public import ArgumentParser
public import Postgres
public import PostgresEventStore
public import Projections
public import ServiceKit

/// An application as those see it who run it: what the subcommands that administer it work on.
public struct Administration: Sendable {
  /// As the program is called.
  let program: String
  /// Of the write store, beside the toolkit's own.
  let writeSchemas: [Schema]
  let readModels: @Sendable (PersonalKeys?) -> [Projection]
  let scopes: [Scope]

  /// - Parameters:
  ///   - program: as it is called, for messages.
  ///   - writeSchemas: of the write store, beside the toolkit's own.
  ///   - scopes: all that tokens may have.
  ///   - readModels: all of them; with the keys of personal data for those that show some, nil where only their names are asked
  ///     for.
  public init(
    program: String, writeSchemas: [Schema] = [], scopes: [Scope] = Scope.common,
    readModels: @escaping @Sendable (PersonalKeys?) -> [Projection]
  ) {
    self.program = program
    self.writeSchemas = writeSchemas
    self.readModels = readModels
    self.scopes = scopes
  }

  /// The subcommands.
  public static let commands: [any ParsableCommand.Type] = [
    Migrate.self, Status.self, Verify.self, Rebuild.self, Parked.self, RestoreFinished.self, Token.self,
  ]

  @TaskLocal private static var ofProcess: Administration?

  static var current: Administration {
    guard let ofProcess else { preconditionFailure("the subcommands run within Administration.main") }
    return ofProcess
  }

  /// Runs the command that the arguments name, and ends the process.
  /// - Parameter root: has `commands` among its subcommands.
  public func main(_ root: (some AsyncParsableCommand).Type) async -> Never {
    await Self.$ofProcess.withValue(self) { await root.main(nil) }
    ServiceMain.exit(0)
  }
}
