import Administration
import ArgumentParser
import AsyncHTTPClient
import Commerce
import CommerceStore
import EventSourcing
import Foundation
import HTTPKit
import JSON
import NIOCore
import NIOHTTP1
import RetailImport
import SettingsKit
import Synchronization

/// Imports a retailer's sales by sending commands.
struct ImportRetail: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import-retail",
    abstract: "Sends a year of a retailer's trade through the commands.",
    discussion: """
      The file has the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country. The \
      lines of an invoice become one order that is paid and shipped. If the invoice's number begins with C, they become one \
      return. Products, their stock and customers follow from the lines. Lines that cannot be imported are counted by reason.

      Each command's key follows from its content, so a second run changes nothing, and an interrupted import continues.

      Prices are in the currency that CURRENCY names (GBP by default), which must be the one of command-service.

      If the service needs a token, set COUNTERFLOW_TOKEN (or COUNTERFLOW_TOKEN_FILE) to one with the scopes commands:write \
      and orders:override.
      """)

  @Argument(help: "The CSV file.", completion: .file(extensions: ["csv"])) var file: String
  @Option(help: "The URL of command-service.") var commands = "http://127.0.0.1:8081"
  @Option(help: "The number of concurrent requests.") var concurrency = 16
  @Option(help: "Invoices from this day on, such as 2010-12-01.") var from: String?
  @Option(help: "Invoices before this day.") var to: String?
  @Flag(help: "Print the summary as JSON.") var json = false

  private static let token = Setting.optional(
    "COUNTERFLOW_TOKEN", allowed: "a token", help: "The token that is sent with each request.", isSecret: true
  )

  func validate() throws {
    guard (1...256).contains(concurrency) else { throw ValidationError("--concurrency takes 1 to 256") }
    guard let url = URL(string: commands), ["http", "https"].contains(url.scheme), url.host != nil else {
      throw ValidationError("--commands takes a URL such as http://127.0.0.1:8081")
    }
    for (name, day) in [("--from", from), ("--to", to)] {
      if let day, Self.time(day) == nil { throw ValidationError("\(name) takes a day such as 2010-12-01") }
    }
  }

  private static func time(_ day: String) -> Timestamp? {
    day.utf8.count == 10 ? Timestamp(day + "T00:00:00Z") : nil
  }

  func run() async throws {
    let (first, last) = (from.flatMap(Self.time), to.flatMap(Self.time))
    let (lower, upper) = (first ?? Timestamp.range.lowerBound, last ?? Timestamp.range.upperBound)
    guard lower < upper else { throw ValidationError("--from must be before --to") }
    let currency = try Settings()[StoreCurrency.setting]
    let retail: RetailFile
    do {
      retail = try RetailFile(
        URL(fileURLWithPath: file), currency: currency, dates: first == nil && last == nil ? nil : lower..<upper)
    } catch { throw ValidationError("\(file) cannot be read: \(error)") }
    let work = RetailImport(retail, scope: "\(from ?? "") \(to ?? "")")
    let settings = Settings()
    let token = try settings[Self.token]
    var configuration = HTTPClient.Configuration(tlsConfiguration: try ClientTLS.configuration(settings))
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = concurrency
    // `Sender` has its own retries.
    configuration.connectionPool.retryConnectionEstablishment = false
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    let sender = Sender(
      base: commands.hasSuffix("/") ? String(commands.dropLast()) : commands, token: token, concurrency,
      work.requests, client)
    let started = ContinuousClock.now
    let interruption = await withTaskGroup(of: Void.self) { group -> (any Error)? in
      group.addTask { await sender.showProgress() }
      defer { group.cancelAll() }
      do {
        for phase in work.phases { try await sender.send(phase) }
        return nil
      } catch { return error }
    }
    try await client.shutdown()
    let seconds = (ContinuousClock.now - started) / .seconds(1)
    let summary = Summary(retail, sender.counts, seconds)
    print(json ? String(decoding: summary.json.encoded, as: UTF8.self) : summary.text)
    for failure in sender.failures { FileHandle.standardError.write(Data("\(failure)\n".utf8)) }
    if let interruption {
      throw ValidationError("The import stopped: \(interruption). Run it again: it continues from here.")
    }
    if sender.counts.failed > 0 { throw ExitCode(1) }
  }
}

private struct Counts: Sendable {
  var sent = 0
  /// Requests for something that already existed.
  var existing = 0
  var failed = 0
}

private struct Unreachable: Error, CustomStringConvertible {
  let description: String
}

/// Sends requests, at most `concurrency` at once.
private final class Sender: Sendable {
  /// The maximum number of attempts for one request; then the import stops.
  private static let attempts = 12
  /// For each attempt.
  private static let timeout = TimeAmount.seconds(30)
  /// Bytes.
  private static let maxAnswer = 1_048_576
  private static let failuresShown = 10

  private struct State {
    var counts = Counts()
    var failures: [String] = []
    var phase = ""
    /// The index of the next chain to send.
    var next = 0
  }

  private let base: String
  private let token: String?
  private let concurrency: Int
  private let total: Int
  private let client: HTTPClient
  private let state = Mutex(State())
  private let started = ContinuousClock.now

  init(base: String, token: String?, _ concurrency: Int, _ total: Int, _ client: HTTPClient) {
    self.base = base
    self.token = token
    self.concurrency = concurrency
    self.total = total
    self.client = client
  }

  var counts: Counts { state.withLock { $0.counts } }
  var failures: [String] { state.withLock { $0.failures } }

  func send(_ phase: RetailImport.Phase) async throws {
    state.withLock { ($0.phase, $0.next) = (phase.name, 0) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<min(concurrency, phase.chains.count) {
        group.addTask {
          while true {
            let index = self.state.withLock { state in
              defer { state.next += 1 }
              return state.next
            }
            guard index < phase.chains.count else { return }
            try await self.send(phase.chains[index])
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// - Throws: `Unreachable` if a request fails in all attempts.
  private func send(_ chain: RetailImport.Chain) async throws {
    for (index, request) in chain.enumerated() {
      let (status, problem, detail) = try await send(request)
      let isThere = status == 409 && problem.hasSuffix("-exists")
      let isFailed = status >= 400 && !isThere
      state.withLock { state in
        state.counts.sent += 1
        if isThere { state.counts.existing += 1 }
        guard isFailed else { return }
        // The rest of the chain is not sent.
        state.counts.failed += chain.count - index
        state.counts.sent += chain.count - index - 1
        if state.failures.count < Self.failuresShown {
          state.failures.append("\(request.path): \(status) \(problem): \(detail)")
        }
      }
      if isFailed { return }
    }
  }

  private func send(_ request: RetailImport.Request) async throws -> (status: Int, problem: String, detail: String) {
    var last = ""
    for attempt in 0..<Self.attempts {
      if attempt > 0 { try await Task.sleep(for: .milliseconds(min(100 << attempt, 10_000))) }
      var message = HTTPClientRequest(url: base + request.path)
      message.method = .POST
      message.headers.add(name: "Content-Type", value: "application/json")
      message.headers.add(name: "Idempotency-Key", value: request.key)
      if let token { message.headers.add(name: "Authorization", value: "Bearer \(token)") }
      message.body = .bytes(request.body)
      do {
        let answer = try await client.execute(message, timeout: Self.timeout)
        let status = Int(answer.status.code)
        let body = try await answer.body.collect(upTo: Self.maxAnswer)
        let json = (try? JSON(parsing: Array(body.readableBytesView))) ?? .null
        let problem = json["type"]?.string?.split(separator: ":").last.map(String.init) ?? ""
        let detail = json["detail"]?.string ?? ""
        // The idempotency key makes it safe to send the request again, whatever its outcome.
        guard status >= 500 || status == 429 || problem == "version-conflict" || problem == "changed-meanwhile" else {
          return (status, problem, detail)
        }
        last = "\(request.path) answers \(status) \(problem): \(detail)"
      } catch  where !Task.isCancelled {
        if let distrust = ClientTLS.distrust(error) { throw Unreachable(description: "\(base): \(distrust)") }
        last = "\(base) does not answer: \(error)"
      }
    }
    throw Unreachable(description: last)
  }

  func showProgress() async {
    let isTerminal = isatty(2) == 1
    let clear = isTerminal ? "\r\u{1B}[K" : ""
    while !Task.isCancelled {
      try? await Task.sleep(for: isTerminal ? .milliseconds(300) : .seconds(5))
      let (counts, phase) = state.withLock { ($0.counts, $0.phase) }
      guard counts.sent > 0, !Task.isCancelled else { continue }
      let seconds = (ContinuousClock.now - started) / .seconds(1)
      let rate = Double(counts.sent) / seconds
      let share = Double(counts.sent) / Double(max(total, 1))
      let filled = Int(share * 30)
      let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
      let left = Int(Double(total - counts.sent) / rate) + 1
      let line = "[\(bar)] \(Int(share * 100)) %  \(counts.sent) of \(total)  \(phase)  \(Int(rate))/s  \(left) s left"
      FileHandle.standardError.write(Data((clear + line + (isTerminal ? "" : "\n")).utf8))
    }
    if isTerminal { FileHandle.standardError.write(Data(clear.utf8)) }
  }
}

private struct Summary {
  let rows: [(String, Int64)]
  let rejected: [(String, Int)]

  init(_ file: RetailFile, _ counts: Counts, _ seconds: Double) {
    rows = [
      ("lines", Int64(file.lines)), ("outsideDates", Int64(file.outsideDates)),
      ("products", Int64(file.products.count)),
      ("customers", Int64(file.customers.count)), ("orders", Int64(file.orders.count)),
      ("ordersTotal", Self.sum(file.orders)), ("returns", Int64(file.returns.count)),
      ("returnsTotal", Self.sum(file.returns)), ("requests", Int64(counts.sent)),
      ("existing", Int64(counts.existing)), ("failed", Int64(counts.failed)), ("seconds", Int64(seconds.rounded())),
    ]
    rejected = RetailFile.Rejection.allCases.map { ($0.rawValue, file.rejected[$0] ?? 0) }
  }

  private static func sum(_ invoices: [RetailFile.Invoice]) -> Int64 {
    invoices.reduce(0) { sum, invoice in
      let (total, overflows) = sum.addingReportingOverflow(invoice.total)
      return overflows ? .max : total
    }
  }

  var json: JSON {
    .object(
      rows.map { JSON.Member($0.0, .integer($0.1)) }
        + [.init("rejected", .object(rejected.map { JSON.Member($0.0, .integer(Int64($0.1))) }))])
  }

  var text: String {
    var table = Table("", "")
    for row in rows { table.add(row.0, "\(row.1)") }
    for row in rejected { table.add("rejected: \(row.0)", "\(row.1)") }
    return table.text
  }
}
