public import Foundation
public import Testing

/// Where the servers of the test run are; `scripts/test` starts them and sets the variables.
public enum TestEnvironment {
  static let variables = ProcessInfo.processInfo.environment

  /// What every process of a test gets. By `COUNTERFLOW_TEST_RUN` `scripts/test` finds what a test run leaves behind.
  static let inherited = variables.filter { ["PATH", "COUNTERFLOW_TEST_RUN", "SERVERS_ROOT"].contains($0.key) }

  /// A superuser's URL of the database `postgres`.
  public static var postgresURL: String { variables["TEST_POSTGRES_URL"] ?? "" }
  /// The broker's default virtual host, and its management API, both as an administrator.
  static var amqpURL: String { variables["TEST_AMQP_URL"] ?? "" }
  static var managementURL: String { variables["TEST_MANAGEMENT_URL"] ?? "" }

  public static var hasServers: Bool { !postgresURL.isEmpty && !amqpURL.isEmpty && !managementURL.isEmpty }

  /// The repository.
  public static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// Where the built executables are: beside the test bundle.
  public static let binaries = URL(
    fileURLWithPath: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "/"
  ).deletingLastPathComponent()

  /// Where the test that asks puts what it makes on disk.
  public static var scratch: URL { TestScope.current.folder }

  public static func uniqueName(_ prefix: String) -> String {
    prefix + "_" + UUID().uuidString.lowercased().replacing("-", with: "").prefix(16)
  }
}

extension Tag {
  /// Needs PostgreSQL or RabbitMQ.
  @Tag public static var integration: Self
  /// Starts whole processes.
  @Tag public static var system: Self
}

extension Trait where Self == ConditionTrait {
  /// Skips, saying so, where no servers run.
  public static var needsServers: Self {
    .enabled(if: TestEnvironment.hasServers, "no servers: run scripts/test")
  }
}

/// Thrown by `eventually` when the time is over.
public struct NeverHappened: Error, CustomStringConvertible {
  public let description: String
  public init(description: String) { self.description = description }
}

/// Waits until `condition` holds. The bound is far beyond what it takes; it ends a test that hangs.
public func eventually(
  _ what: String, within bound: Duration = .seconds(120), _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + bound
  while try await !condition() {
    guard ContinuousClock.now < deadline else { throw NeverHappened(description: "in \(bound) never: \(what)") }
    try await Task.sleep(for: .milliseconds(20))
  }
}
