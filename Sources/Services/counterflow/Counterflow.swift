import ArgumentParser
import ServiceKit

/// Administration from the command line.
@main
struct Counterflow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Administers a Counterflow system.",
    discussion: "The databases are named by WRITE_DATABASE_URL and READ_DATABASE_URL; see docs/configuration.md.",
    subcommands: [
      Migrate.self, Status.self, Verify.self, ImportRetail.self, Rebuild.self, Parked.self, RestoreFinished.self,
      Token.self,
    ])

  static func main() async {
    await main(nil)
    ServiceMain.exit(0)
  }
}
