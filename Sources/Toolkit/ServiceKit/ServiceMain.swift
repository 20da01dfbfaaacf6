internal import Foundation
public import Logging
public import ServiceLifecycle
internal import UnixSignals

/// What every executable does around its own composition.
public enum ServiceMain {
  /// Builds the services and runs them until SIGTERM or SIGINT, which drain: services stop in the
  /// reverse order. A wrong setting ends the process at once, with status 78 (EX_CONFIG of sysexits.h)
  /// and the reason on standard error.
  public static func run(
    _ name: String, _ settings: Settings = Settings(), _ build: (Settings, Logger) async throws -> [any Service]
  ) async {
    allowManyConnections()
    do {
      let level = try settings[.logLevel]
      try Observing.begin(name, settings)
      var logger = Logger(label: name)
      logger.logLevel = level
      // Stopped last: the spans of the others' ends go too.
      let exporting = try Observing.beginTracing(name, settings, logger)
      let services = exporting + (try await build(settings, logger))
      var configuration = ServiceGroupConfiguration(
        services: services, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
      configuration.maximumGracefulShutdownDuration = try settings[CommonSettings.shutdownTimeout]
      logger.info("starting")
      try await ServiceGroup(configuration: configuration).run()
      logger.info("stopped")
      exit(0)
    } catch let error as SettingError {
      exit(with: "\(name): \(error)", status: 78)
    } catch {
      exit(with: "\(name): \(error)", status: 1)
    }
  }

  /// Raises the soft limit of open files to the hard one: the soft one is low for programs that use select, which none here does.
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

  /// Ends the process without exit handlers. A connection's thread ends by itself, and may still be inside
  /// libpq when all services have stopped: the handlers of OpenSSL would take away what it stands on.
  public static func exit(_ status: Int32) -> Never {
    fflush(nil)
    _exit(status)
  }
}
