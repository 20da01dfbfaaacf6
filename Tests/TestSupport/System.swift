internal import Foundation

/// The four services as processes, on the test's own databases and virtual host. They end with the test.
///
/// With `.freshStores` the write store and the read store have a database each; with `.freshDatabase()` they share one.
public final class System: Sendable {
  public enum Service: String, Sendable, CaseIterable {
    case commandService = "command-service"
    case relay
    case projector
    case queryService = "query-service"
    case reactor
  }

  /// A store; the raw value is the name of its setting.
  public enum Store: String, Sendable {
    case write = "WRITE_DATABASE_URL"
    case read = "READ_DATABASE_URL"
  }

  /// The database role of each service, and the password of all roles in tests.
  private static let password = "only-for-tests"
  private static let roles: [Service: String] = [
    .commandService: "command", .relay: "relay", .projector: "projector", .queryService: "query",
    .reactor: "reactor",
  ]

  private let environment: [String: String]
  /// The executable with all services as subcommands; nil for the commerce back end, which has one executable for each.
  private let application: String?

  /// - Parameters:
  ///   - application: The executable with all services as subcommands; nil for the commerce back end.
  ///   - readURL: The URL of the read store; nil for `writeURL`, or for the test's read store if both are nil.
  public init(
    of application: String? = nil, writeURL: String? = nil, readURL: String? = nil, amqpURL: String? = nil,
    settings: [String: String] = [:]
  ) {
    self.application = application
    environment = [
      Store.write.rawValue: writeURL ?? FreshDatabase.current?.url ?? "",
      Store.read.rawValue: readURL ?? writeURL ?? FreshDatabase.readStore?.url ?? "",
      "AMQP_URL": amqpURL ?? FreshVirtualHost.current?.url ?? "", "AUTH": "off",
      "CONSISTENCY_TOKEN_KEY": "only-for-tests-only-for-tests-only-for-tests", "LEASE_DURATION": "3",
      // A busy machine may take long to open a connection.
      "PROJECTION_HEAD_INTERVAL": "0.4", "DATABASE_ACQUIRE_TIMEOUT": "10",
    ].merging(settings) { $1 }
  }

  public func run(_ executable: String, _ arguments: [String] = [], settings: [String: String] = [:]) throws
    -> ChildProcess
  {
    try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent(executable), arguments,
      environment: environment.merging(settings) { $1 })
  }

  public func migrate() async throws {
    let passwords = Self.roles.values.map { ("\($0.uppercased())_DATABASE_PASSWORD", Self.password) }
    let migrate = try run(
      application ?? "counterflow", ["migrate", "--wait", "120"], settings: Dictionary(uniqueKeysWithValues: passwords))
    guard try await migrate.wait() == 0 else { throw NeverHappened(description: "migrate: \(migrate.output)") }
  }

  /// The URL of a store with the role of a service.
  public func url(of service: Service, in store: Store = .write) -> String {
    // It may name several hosts, which URLComponents does not know.
    (environment[store.rawValue] ?? "").replacing(
      /:\/\/[^@]*@/, with: "://counterflow_\(Self.roles[service]!):\(Self.password)@", maxReplacements: 1)
  }

  /// Starts services one after the other, and waits until each is ready.
  public func startReady(_ services: [Service]) async throws {
    for service in services { try await startReady(service) }
  }

  /// Starts a service on a free port.
  public func start(_ service: Service, settings: [String: String] = [:]) async throws -> RunningService {
    // Each service runs with its own role, as in production.
    let own = [
      "HTTP_PORT": "0", Store.write.rawValue: url(of: service), Store.read.rawValue: url(of: service, in: .read),
    ]
    let process =
      try application.map { try run($0, [service.rawValue], settings: own.merging(settings) { $1 }) }
      ?? run(service.rawValue, settings: own.merging(settings) { $1 })
    return try await RunningService(process)
  }

  /// Starts a service and waits until it is ready.
  @discardableResult
  public func startReady(_ service: Service, settings: [String: String] = [:]) async throws -> RunningService {
    let running = try await start(service, settings: settings)
    try await running.becomesReady()
    return running
  }
}

public struct RunningService: Sendable {
  public let process: ChildProcess
  public let http: HTTPProbe

  /// Waits until the process listens.
  public init(_ process: ChildProcess) async throws {
    var url: String?
    try await eventually("\(process.log.lastPathComponent) listens") {
      guard process.isRunning else { throw NeverHappened(description: process.output) }
      url = process.output.firstMatch(of: /listening on (127\.0\.0\.1:\d+)/).map { "http://\($0.output.1)" }
      return url != nil
    }
    (self.process, http) = (process, HTTPProbe(url!))
  }

  /// Starts all roles of an application as one process on the test's database, and waits until it is ready.
  public static func development(of application: String) async throws -> RunningService {
    let service = try await RunningService(
      try ChildProcess(
        TestEnvironment.binaries.appendingPathComponent(application), ["dev"],
        environment: ["DATABASE_URL": FreshDatabase.current?.url ?? "", "HTTP_PORT": "0"]))
    try await service.becomesReady()
    return service
  }

  public func isReady() async -> Bool { (try? await http.get("/readyz"))?.status == 200 }

  public func becomesReady() async throws {
    try await eventually("\(http.base) is ready", within: .seconds(120)) { await isReady() }
  }
}

extension HTTPProbe {
  /// Repeats the request until the response has that status.
  public func get(_ path: String, until status: Int) async throws -> HTTPAnswer {
    var answer: HTTPAnswer?
    try await eventually("GET \(path) answers \(status)") {
      answer = try? await get(path)
      return answer?.status == status
    }
    return answer!
  }
}
