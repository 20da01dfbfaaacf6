import ArgumentParser
import Foundation
import HTTPKit
import NIOSSL
import SettingsKit

/// The trials of one run, against one system.
struct Session {
  private let commands: [URL]
  private let queries: [URL]
  private let metrics: [URL]
  private let format: RequestFormat
  private let preparation: Preparation
  private let metricsToken: String?
  private let interruption: Interruption
  private let tls: NIOSSLContext?
  private let output = Output()
  private(set) var report: Report
  private var toRead = Preparation.Found()
  private var weights: [Reading.Kind: Int] = [:]

  init(
    commands: [URL], queries: [URL], token: String?, metricsToken: String?, metrics: [URL]?, title: String,
    interruption: Interruption, client: ProcessClient, tls: NIOSSLContext?
  ) throws {
    self.tls = tls
    self.metrics = metrics ?? queries
    (self.commands, self.queries, self.metricsToken, self.interruption) = (
      commands, queries, metricsToken, interruption
    )
    format = RequestFormat(token: token)
    preparation = Preparation(commands: commands[0], queries: queries[0], token: token, client: client)
    report = Report(
      title: title, began: Date.now.formatted(.iso8601), machine: Self.machine,
      commands: commands.map(\.absoluteString), queries: queries.map(\.absoluteString))
  }

  mutating func prepare(_ profiles: [LoadTest.Profile], orders: Int, weights: [Reading.Kind: Int]) async throws {
    self.weights = weights
    if profiles.contains(where: \.needsCommands) { try await preparation.makeProducts() }
    if orders > 0, profiles.contains(where: { $0 == .read || $0 == .mixed }) {
      toRead = try await preparation.whatToRead(count: orders)
    }
  }

  func workload(_ profile: LoadTest.Profile, ratio: Double, path: String?) throws -> any Workload {
    let reading = Reading(format, toRead, weights: weights)
    return switch profile {
    case .write: PlacingOrders(format)
    case .hot: PlacingOrders(format, isHot: true)
    case .read: if let path { OnePath(format, path: path) } else { reading }
    case .mixed: Mixed(reading, PlacingOrders(format), ratio: ratio)
    case .readYourWrites: ReadingYourWrites(format)
    case .checkout: CheckingOut(format)
    }
  }

  mutating func measure(_ workload: any Workload, _ settings: Trial.Settings) throws {
    let result = try trial(workload, settings)
    report.trials.append(result)
    output.show(result)
  }

  private func trial(_ workload: any Workload, _ settings: Trial.Settings) throws -> TrialResult {
    var places: [Side: [Endpoint]] = [
      .watch: try queries.flatMap(endpoints), .probe: try metrics.flatMap(endpoints),
    ]
    if workload.sides.contains(.command) { places[.command] = try commands.flatMap(endpoints) }
    if workload.sides.contains(.query) { places[.query] = try queries.flatMap(endpoints) }
    let driver = try Driver(
      places,
      connections: [.command: settings.connections, .query: settings.connections, .watch: 8, .probe: 1],
      timeout: settings.timeout)
    output.begin(workload.name, settings)
    return Trial(
      workload, settings, format: format, probe: RequestFormat(token: metricsToken).get("/metrics"),
      isInterrupted: { [interruption] in interruption.isRequested },
      progress: { [output] in output.show($0, isMeasured: $1) }
    ).run(on: driver)
  }

  private func endpoints(_ url: URL) throws -> [Endpoint] {
    let host = url.host!.trimmingCharacters(in: ["[", "]"])
    return try Endpoint.all(host: host, port: url.port!, url.scheme == "https" ? tls : nil)
  }

  /// Checks before the run, so that no results are lost.
  static func checkWritable(_ file: String) throws {
    guard file != "-" else { return }
    guard let handle = fopen(file, "a") else {
      throw ValidationError("\(file) cannot be written: \(String(cString: strerror(errno)))")
    }
    fclose(handle)
  }

  mutating func search(
    _ objective: Objective, _ schedule: Schedule, _ settings: Trial.Settings, _ workload: () throws -> any Workload
  ) async throws {
    guard case .open(let first, _) = schedule else { return }
    var (search, attempts) = (RateSearch(from: first), [Report.Attempt]())
    var best: TrialResult?
    while let rate = search.next, !interruption.isRequested {
      var settings = settings
      settings.schedule = .open(from: rate, to: rate)
      let result = try trial(try workload(), settings)
      // An interrupted trial has no valid result.
      guard !interruption.isRequested else { break }
      let isKept = objective.isKept(by: result)
      search.tried(rate, isKept: isKept)
      if isKept { best = result }
      attempts.append(
        Report.Attempt(
          rate: rate, answeredPerSecond: result.answeredPerSecond, value: result.latency?[objective.figure],
          errors: result.errors, reasons: result.reasons, isKept: isKept))
      output.show(attempts.last!, objective)
      // Lets the system finish the work of this trial, so that it does not slow down the next one.
      try await Task.sleep(for: .seconds(isKept ? 0.5 : 3))
    }
    let name = try workload().name
    report.searches.append(
      Report.Search(
        profile: name, objective: objective.description, figure: objective.figure, found: search.kept,
        attempts: attempts))
    output.showFound(search.kept, objective, name)
    if let best {
      report.trials.append(best)
      output.show(best)
    }
  }

  mutating func readMarks(_ file: String) throws {
    guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
      throw ValidationError("--marks: \(file) cannot be read")
    }
    report.marks = text.split(separator: "\n").compactMap { line in
      let parts = line.split(separator: " ", maxSplits: 1)
      guard parts.count == 2, let second = Double(parts[0]) else { return nil }
      return Report.Mark(second: second, text: String(parts[1]))
    }
  }

  func finish(json: String?, report file: String?) throws {
    if report.trials.count > 1 { output.showSideBySide(report.trials) }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(report)
    let text = String(decoding: data, as: UTF8.self)
    let outputs = [(json, text), (file, file == nil ? "" : ReportPage.html(text))]
    // If one output cannot be written, the other still is.
    var failure: (any Error)?
    for case (let file?, let text) in outputs {
      if file == "-" {
        print(text)
      } else {
        do { try write(Data(text.utf8), to: file) } catch { failure = error }
      }
    }
    if let failure { throw failure }
  }

  private func write(_ data: Data, to file: String) throws {
    do { try data.write(to: URL(fileURLWithPath: file)) } catch {
      throw ValidationError("\(file) cannot be written: \(error.localizedDescription)")
    }
    output.say("Wrote \(file).")
  }

  private static var machine: String {
    let information = ProcessInfo.processInfo
    return "\(information.activeProcessorCount) cores, \(information.physicalMemory >> 30) GiB, "
      + information.operatingSystemVersionString
  }
}
