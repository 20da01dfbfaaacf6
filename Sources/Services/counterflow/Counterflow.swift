import Administration
import ArgumentParser
import Commerce
import CommerceReactions
import CommerceReadModels
import CommerceStore
import HTTPKit
import Postgres

/// Administers the commerce back end from the command line, and runs each of its processes.
@main
struct Counterflow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs and administers a Counterflow system.",
    discussion: "The databases are named by WRITE_DATABASE_URL and READ_DATABASE_URL; see docs/configuration.md.",
    version: "\(PackageVersion.current)",
    subcommands: Processes.commands + Administration.commands + [ImportRetail.self, NewPackage.self])

  static func main() async {
    await Administration(
      program: "counterflow", writeSchemas: [commerceStoreSchema], scopes: Scope.commerce,
      reactions: commerceReactions(),
      aggregates: [Product.self, Order.self, Customer.self, Return.self, Waitlist.self, BackInStockNotices.self]
        + commerceReactionAggregates,
      readModels: { commerceReadModels($0) }
    ).main(Self.self)
  }
}
