import ArgumentParser
import CommerceCommands
import CommerceProcesses
import CommerceQueries
import RabbitMQFeed
import ServiceKit

/// The services of the commerce back end as subcommands, so that an image needs one executable.
enum Processes {
  static let commands: [any ParsableCommand.Type] = [
    CommandServiceProcess.self, RelayProcess.self, ProjectorProcess.self, QueryServiceProcess.self,
    ReactorProcess.self,
  ]
}

private struct CommandServiceProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "command-service", abstract: "Takes commands over HTTP.")

  func run() async { await Role.commerceCommands.main() }
}

private struct RelayProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "relay", abstract: "Publishes events on RabbitMQ.")

  func run() async { await Role.relay.main() }
}

private struct ProjectorProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "projector", abstract: "Keeps read models up to date.")

  func run() async { await Role.commerceProjector.main() }
}

private struct QueryServiceProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "query-service", abstract: "Answers queries over HTTP, and shows the console.")

  func run() async { await Role.commerceQueries.main() }
}

private struct ReactorProcess: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reactor", abstract: "Runs reactions and scheduled commands.")

  func run() async { await Role.commerceReactor.main() }
}
