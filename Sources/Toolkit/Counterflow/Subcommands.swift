internal import Administration
internal import ArgumentParser
internal import FoundationEssentials
internal import HTTPKit
internal import Machine
internal import Postgres
internal import RabbitMQFeed
internal import ServiceKit
internal import SettingsKit

/// The root command of an application's executable.
struct Root<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: System.name, version: "Counterflow \(PackageVersion.current)",
      subcommands: [
        Dev<System>.self, CommandServiceCommand<System>.self, RelayCommand<System>.self, ProjectorCommand<System>.self,
        QueryServiceCommand<System>.self, ReactorCommand<System>.self,
      ] + Administration.commands)
  }
}

private struct CommandServiceCommand<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "command-service", abstract: "Takes commands over HTTP.")
  }

  func run() async { await System().commandService.main() }
}

private struct RelayCommand<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "relay", abstract: "Publishes events on RabbitMQ.")
  }

  func run() async { await Role.relay.main() }
}

private struct ProjectorCommand<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "projector", abstract: "Keeps read models up to date.")
  }

  func run() async { await System().projector.main() }
}

private struct QueryServiceCommand<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(commandName: "query-service", abstract: "Answers queries over HTTP.")
  }

  func run() async { await System().queryService.main() }
}

private struct ReactorCommand<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: "reactor", abstract: "Runs reactions and scheduled commands.")
  }

  func run() async { await System().reactor.main() }
}

private struct Dev<System: Application>: AsyncParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: "dev", abstract: "Runs everything as one process, on one database and without RabbitMQ.",
      discussion: """
        DATABASE_URL names the database, which it migrates first. HTTP listens on port 8080, or HTTP_PORT, of loopback, and \
        asks nobody for a token unless AUTH says so.
        """)
  }

  private static var database: Setting<String> {
    .postgresURL("DATABASE_URL", help: "The database of an application that runs as one process.")
  }

  func run() async throws {
    let application = System()
    var variables = ProcessInfo.processInfo.environment
    try await reportingSettings {
      let url = try Settings()[Self.database]
      for name in ["WRITE_DATABASE_URL", "READ_DATABASE_URL"] { variables[name] = url }
      func setIfUnset(_ name: String, _ value: String) {
        if (variables[name] ?? variables[name + "_FILE"] ?? "").isEmpty { variables[name] = value }
      }
      // There is only one process, so no other process needs the key.
      setIfUnset("CONSISTENCY_TOKEN_KEY", Machine.uuid().uuidString)
      setIfUnset("AUTH", "off")
      setIfUnset("CONSOLE_PROCESSES", "self")
      variables["EVENT_FEED"] = "postgres"
      let settings = Settings(variables)
      try await application.administration.migrate(settings, wait: .seconds(30)) { _ in }
      await application.all.main(settings)
    }
  }
}
