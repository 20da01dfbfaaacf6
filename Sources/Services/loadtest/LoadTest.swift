import ArgumentParser
import Foundation
import HTTPKit
import ServiceKit
import SettingsKit
import Synchronization

@main
struct LoadTest: AsyncParsableCommand {
  enum Profile: String, CaseIterable, ExpressibleByArgument {
    case write, read, mixed, checkout, hot
    case readYourWrites = "read-your-writes"

    var needsCommands: Bool { self != .read }
    var needsQueries: Bool { [.read, .mixed, .readYourWrites].contains(self) }
  }

  static let configuration = CommandConfiguration(
    commandName: "loadtest",
    abstract: "Load-tests the write path, the read path, or both.",
    discussion: """
      Requests are sent when they are due, even if earlier ones have no response yet. Each latency counts from the moment \
      when the request was due, so a stall of the server shows in the latency of every request that was due during it. \
      With --closed each connection waits for its response before it sends the next request, as wrk does.

        loadtest write --rate 1000 --duration 30
        loadtest mixed --rate 500..5000 --duration 60 --report mixed.html
        loadtest read --find-max "p99<50ms"
        loadtest --compare --find-max "p99<50ms" --report compare.html

      The profiles: write (orders of one line), read, mixed (--ratio reads for each write), read-your-writes (an order, then \
      a read with its token), checkout (an order's whole life), hot (all orders take from one product's stock).

      If the services need a token, set COUNTERFLOW_TOKEN (or COUNTERFLOW_TOKEN_FILE) to one with the scopes commands:write \
      and queries:read. If /metrics needs a token, set METRICS_TOKEN. For https URLs, TLS_CA_FILE names the certificates of \
      authorities that the system does not know.
      """)

  @Argument(help: "The load: \(Profile.allCases.map(\.rawValue).joined(separator: ", ")).") var profile: Profile?
  @Flag(help: "Runs write, read and mixed one after the other, and compares them.") var compare = false
  @Option(help: "The URLs of command-service, separated by commas.") var commands = "http://127.0.0.1:8081"
  @Option(help: "The URLs of query-service, separated by commas.") var queries = "http://127.0.0.1:8082"
  @Option(
    help: "The URLs of query-service at which to read the lag of read models from /metrics; the default is --queries.")
  var metrics: String?
  @Option(help: "Requests (checkout: journeys) per second; 100..1000 rises evenly from 100 to 1000.") var rate = "100"
  @Flag(help: "Each connection sends its next request when it has the response; --rate is ignored.") var closed = false
  @Option(help: "Finds the highest rate that meets this objective, such as \"p99<50ms\".") var findMax: Objective?
  @Option(help: "The length of the measurement, in seconds.") var duration = 10.0
  @Option(help: "Seconds of warm-up before the measurement.") var warmUp = 2.0
  @Option(help: "The number of connections to command-service, and to query-service.") var connections = 64
  @Option(help: "The time-out of a request, in seconds.") var timeout = 30.0
  @Option(help: "Mixed: reads for each write.") var ratio = 9.0
  @Option(help: "Read: kinds by weight, of order, page, product, search and sales.") var reads =
    "order=17,page=2,product=1"
  @Option(help: "Read: only this path, to compare with other tools.") var path: String?
  @Option(help: "The number of orders that reads choose from.") var orders = 5_000
  @Option(help: "Writes per second whose visibility is measured; 0 for none.") var visibility = 5.0
  @Option(help: "Writes everything as JSON to this file; - for standard output.") var json: String?
  @Option(help: "Writes a page with charts to this file; - for standard output.") var report: String?
  @Option(
    help:
      "A file with lines such as \"15 three projectors\": the second and the text of a mark in the charts. It is read at the end."
  )
  var marks: String?

  private static let token = Setting.optional(
    "COUNTERFLOW_TOKEN", allowed: "a token", help: "The token that is sent with each request.", isSecret: true)

  mutating func validate() throws {
    guard compare != (profile != nil) else { throw ValidationError("give a profile, or --compare") }
    guard (1...10_000).contains(connections) else { throw ValidationError("--connections takes 1 to 10000") }
    guard (0.1...86_400).contains(duration) else { throw ValidationError("--duration takes 0.1 to 86400 seconds") }
    guard (0...3_600).contains(warmUp) else { throw ValidationError("--warm-up takes 0 to 3600 seconds") }
    guard (0.1...600).contains(timeout) else { throw ValidationError("--timeout takes 0.1 to 600 seconds") }
    guard ratio >= 0, ratio.isFinite else { throw ValidationError("--ratio takes 0 or more") }
    guard (1...100_000).contains(orders) else { throw ValidationError("--orders takes 1 to 100000") }
    guard (0...1000).contains(visibility) else { throw ValidationError("--visibility takes 0 to 1000") }
    _ = try (schedule(), weights(), urls(commands, "--commands"), urls(queries, "--queries"))
    if closed {
      guard findMax == nil else { throw ValidationError("--find-max needs a rate, so it cannot be used with --closed") }
      guard !compare, let profile, ![.mixed, .readYourWrites].contains(profile) else {
        throw ValidationError(
          "--closed works with write, read, checkout and hot only: the others send to both services")
      }
    }
    guard json != "-" || report != "-" else { throw ValidationError("only one of --json and --report can be -") }
    if path != nil, profile != .read { throw ValidationError("--path works with the profile read only") }
  }

  private func schedule() throws -> Schedule {
    if closed { return .closed }
    let ends = rate.split(separator: "..", omittingEmptySubsequences: false).map { Double($0) }
    guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil,
      [first, last].allSatisfy({ $0 > 0 && $0 <= RateSearch.highest })
    else { throw ValidationError("--rate takes requests per second, such as 1000, or 100..1000") }
    return .open(from: first, to: last)
  }

  private func weights() throws -> [Reading.Kind: Int] {
    var weights: [Reading.Kind: Int] = [:]
    for part in reads.split(separator: ",") {
      let pair = part.split(separator: "=")
      guard pair.count == 2, let kind = Reading.Kind(rawValue: String(pair[0])), let weight = Int(pair[1]),
        (0...1000).contains(weight)
      else {
        throw ValidationError(
          "--reads takes kinds with weights, such as order=9,page=1; kinds are "
            + Reading.Kind.allCases.map(\.rawValue).joined(separator: ", "))
      }
      weights[kind] = weight
    }
    guard weights.values.contains(where: { $0 > 0 }) else { throw ValidationError("--reads leaves nothing to read") }
    return weights
  }

  private func urls(_ text: String, _ option: String) throws -> [URL] {
    let urls = try text.split(separator: ",", omittingEmptySubsequences: false).map { part -> URL in
      guard var parts = URLComponents(string: String(part)), ["http", "https"].contains(parts.scheme),
        parts.host?.isEmpty == false,
        ["", "/"].contains(parts.path), (1...65_535).contains(parts.port ?? 80), let url = parts.url
      else { throw ValidationError("\(option) takes URLs such as http://127.0.0.1:8081, not '\(part)'") }
      parts.path = ""
      parts.port = ProcessClient.port(of: url)
      return parts.url!
    }
    return urls
  }

  func run() async throws {
    let interruption = Interruption()
    let settings = Settings()
    let https = try [commands, queries, metrics ?? queries].contains {
      try urls($0, "").contains { $0.scheme == "https" }
    }
    var session = try Session(
      commands: try urls(commands, "--commands"), queries: try urls(queries, "--queries"),
      token: try settings[Self.token], metricsToken: try settings[Observing.metricsToken],
      metrics: try metrics.map { try urls($0, "--metrics") }, title: title, interruption: interruption,
      client: try ProcessClient(settings), tls: https ? try ClientTLS.context(settings) : nil)
    for file in [json, report] { try file.map(Session.checkWritable) }
    let profiles = compare ? [Profile.write, .read, .mixed] : [profile!]
    try await session.prepare(profiles, orders: path == nil ? orders : 0, weights: try weights())
    let trial = Trial.Settings(
      schedule: try schedule(), warmUp: warmUp, duration: duration, timeout: timeout, visibility: visibility,
      connections: connections)
    for profile in profiles where !interruption.isRequested {
      let workload = { [prepared = session] in try prepared.workload(profile, ratio: ratio, path: path) }
      if let findMax {
        try await session.search(findMax, try schedule(), trial, workload)
      } else {
        try session.measure(try workload(), trial)
      }
    }
    if let marks { try session.readMarks(marks) }
    try session.finish(json: json, report: report)
    guard session.report.searches.allSatisfy({ $0.found != nil }),
      session.report.trials.contains(where: { ($0.latency?.count ?? 0) > 0 })
    else { throw ExitCode(1) }
  }

  private var title: String {
    let what = compare ? "write, read and mixed" : profile!.rawValue
    if let findMax { return "\(what): the highest rate that meets \(findMax)" }
    return closed ? "\(what), \(connections) connections in a closed loop" : "\(what) at \(rate) requests per second"
  }
}

/// Ctrl-C ends the running trial, and the results so far are still reported. A second Ctrl-C ends the process.
final class Interruption: Sendable {
  private static let count = Atomic<Int>(0)

  init() {
    signal(SIGINT) { _ in
      if Interruption.count.add(1, ordering: .relaxed).newValue > 1 { _exit(130) }
    }
  }

  var isRequested: Bool { Self.count.load(ordering: .relaxed) > 0 }
}
