internal import Foundation
package import Logging
internal import Postgres
package import ServiceLifecycle
package import SettingsKit
internal import UnixSignals

/// Starts and stops the services of an executable.
package enum ServiceMain {
  /// Builds the services and runs them until SIGTERM or SIGINT. They then drain and stop in reverse order. An invalid
  /// setting ends the process at once with status 78 (EX_CONFIG of sysexits.h) and the reason on standard error. With the
  /// argument `--version` it only prints the version.
  package static func run(
    _ name: String, _ settings: Settings = Settings(), _ build: (Settings, Logger) async throws -> [any Service]
  ) async {
    if CommandLine.arguments.dropFirst().elementsEqual(["--version"]) {
      print(PackageVersion.current)
      exit(0)
    }
    allowManyConnections()
    do {
      let level = try settings[.logLevel]
      try Observing.begin(name, settings)
      var logger = Logger(label: name)
      logger.logLevel = level
      // Stops last, so that it also sends the spans of the other services' shutdown.
      let exporting = try Observing.beginTracing(name, settings, logger)
      let services = exporting + (try await build(settings, logger))
      var configuration = ServiceGroupConfiguration(
        services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
      configuration.maximumGracefulShutdownDuration = try settings[CommonSettings.shutdownTimeout]
      logger.info("starting", metadata: ["version": "\(PackageVersion.current)"])
      try await ServiceGroup(configuration: configuration).run()
      logger.info("stopped")
      exit(0)
    } catch let error as SettingError {
      exit(with: "\(name): \(error)", status: 78)
    } catch {
      exit(with: "\(name): \(error)", status: 1)
    }
  }

  /// Raises the soft limit of open files to the hard limit. The soft limit is low for programs that use select; none
  /// here does.
  private static func allowManyConnections() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  private static func exit(with message: String, status: Int32) -> Never {
    FileHandle.standardError.write(Data((message + "\n").utf8))
    exit(status)
  }

  /// Ends the process without exit handlers. A connection's thread ends by itself, and may still be inside libpq after
  /// all services have stopped. OpenSSL's exit handlers would free memory that it uses.
  package static func exit(_ status: Int32) -> Never {
    fflush(nil)
    _exit(status)
  }
}
