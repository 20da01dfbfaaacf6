internal import Foundation
internal import JSON
public import RabbitMQ
public import Testing

/// The virtual host of one test.
public struct FreshVirtualHost: Sendable {
  @TaskLocal public static var current: FreshVirtualHost!

  /// The broker's host and port.
  public static var broker: String {
    let components = URLComponents(string: TestEnvironment.amqpURL)
    return "\(components?.host ?? ""):\(components?.port ?? 0)"
  }

  public let name: String

  public var url: String {
    var components = URLComponents(string: TestEnvironment.amqpURL)!
    components.path = "/" + name
    return components.string!
  }

  public var configuration: RabbitMQConfiguration {
    RabbitMQConfiguration(url: url, connectionName: name, timeout: .seconds(30))
  }

  public func connect() async throws -> RabbitMQConnection { try await RabbitMQConnection.connect(configuration) }

  /// Purges or deletes a queue of the live feed, or makes the broker cancel its consumer.
  /// - Parameter attack: `purge`, `delete` or `cancel`.
  /// - Returns: The name of the queue.
  public func attackQueue(_ attack: String) async throws -> String {
    let script = try ChildProcess(
      TestEnvironment.root.appendingPathComponent("scripts/lib/attack-queue"), [attack, name],
      environment: ["COUNTERFLOW_LOCAL": TestEnvironment.variables["COUNTERFLOW_LOCAL"] ?? ""])
    guard try await script.wait() == 0 else { throw NeverHappened(description: "\(attack): \(script.output)") }
    return script.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// Closes every connection to this virtual host, as an administrator would.
  public func closeConnections() async throws {
    for connection in try await Management.request("GET", "vhosts/\(name)/connections").json.array ?? [] {
      guard let name = connection["name"]?.string else { continue }
      let segment = name.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
      try await Management.request("DELETE", "connections/\(segment)")
    }
  }
}

/// RabbitMQ's management API.
enum Management {
  @discardableResult
  static func request(_ method: String, _ path: String, body: String? = nil) async throws -> HTTPAnswer {
    var components = URLComponents(string: TestEnvironment.managementURL)!
    let credentials = "\(components.user ?? ""):\(components.password ?? "")"
    (components.user, components.password) = (nil, nil)
    var probe = HTTPProbe(components.string! + "/api/")
    probe.headers = ["Authorization": "Basic " + Data(credentials.utf8).base64EncodedString()]
    return try await probe.send(method, path, body: body.map { Array($0.utf8) })
  }
}

/// Gives each test case its own virtual host.
public struct FreshVirtualHostTrait: TestTrait, TestScoping {
  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard TestEnvironment.hasServers else { return try await function() }
    let host = FreshVirtualHost(name: TestEnvironment.uniqueName("test"))
    try await TestScope.run(for: test, testCase) {
      try await make(host)
      try await FreshVirtualHost.$current.withValue(host) { try await function() }
    } tearDown: {
      try await Management.request("DELETE", "vhosts/\(host.name)")
    }
  }

  private func make(_ host: FreshVirtualHost) async throws {
    try await Management.request("PUT", "vhosts/\(host.name)")
    let user = URLComponents(string: TestEnvironment.amqpURL)!.user!
    try await Management.request(
      "PUT", "permissions/\(host.name)/\(user)", body: #"{"configure":".*","write":".*","read":".*"}"#)
  }
}

extension Trait where Self == FreshVirtualHostTrait {
  public static var freshVirtualHost: Self { FreshVirtualHostTrait() }
}
