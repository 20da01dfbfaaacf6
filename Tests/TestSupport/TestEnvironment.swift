public import Foundation
public import Testing

/// The servers of the test run. `scripts/test` starts them and sets the variables.
public enum TestEnvironment {
  static let variables = ProcessInfo.processInfo.environment

  /// The environment of every process of a test. `scripts/test` finds what a run leaves behind by
  /// `COUNTERFLOW_TEST_RUN`.
  static let inherited = variables.filter { ["PATH", "COUNTERFLOW_TEST_RUN", "SERVERS_ROOT"].contains($0.key) }

  /// The URL of the database `postgres`, for a superuser.
  public static var postgresURL: String { variables["TEST_POSTGRES_URL"] ?? "" }
  /// The broker's default virtual host and its management API, both for an administrator.
  static var amqpURL: String { variables["TEST_AMQP_URL"] ?? "" }
  static var managementURL: String { variables["TEST_MANAGEMENT_URL"] ?? "" }

  public static var hasServers: Bool { !postgresURL.isEmpty && !amqpURL.isEmpty && !managementURL.isEmpty }

  /// The folder of the repository.
  public static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// The folder of the built executables, which is that of the test bundle.
  public static let binaries = URL(
    fileURLWithPath: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/"
  ).deletingLastPathComponent()

  /// The folder for files of the running test.
  public static var scratch: URL { TestScope.current.folder }

  public static func uniqueName(_ prefix: String) -> String {
    prefix + "_" + UUID().uuidString.lowercased().replacing("-", with: "").prefix(16)
  }
}

extension Tag {
  /// The test needs PostgreSQL or RabbitMQ.
  @Tag public static var integration: Self
  /// The test starts whole processes.
  @Tag public static var system: Self
}

extension Trait where Self == ConditionTrait {
  /// Skips the test, with a message, if no servers run.
  public static var needsServers: Self {
    .enabled(if: TestEnvironment.hasServers, "no servers: run scripts/test")
  }
}

/// Thrown by `eventually` when the time is over.
public struct NeverHappened: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// Waits until `condition` holds. The bound is far above the usual time; it only ends a test that hangs.
public func eventually(
  _ what: String, within bound: Duration = .seconds(120), _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + bound
  while try await !condition() {
    guard ContinuousClock.now < deadline else { throw NeverHappened(description: "in \(bound) never: \(what)") }
    try await Task.sleep(for: .milliseconds(20))
  }
}
