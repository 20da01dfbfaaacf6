import Foundation
import TestSupport
import Testing

@Suite("The toolkit's words")
struct NeutralityTests {
  /// Words of trade, in any spelling of an identifier or a comment.
  ///
  /// `currency` and money are not among them: ISO 4217 is a standard like RFC 3339, and the console shows amounts of any
  /// domain. `delivery`, `catalogue` and `stock` are words of brokers, metrics and speech.
  private static let words: Set<String> = [
    "buyer", "cart", "carts", "commerce", "customer", "customers", "invoice", "invoices", "orders", "price", "prices",
    "product", "products", "purchase", "refund", "retail", "sale", "sales", "shipment", "shipments", "shipped", "shop",
    "sku", "skus", "unpaid", "warehouse",
  ]

  /// Returns what a line has of trade.
  private static func trade(in line: String) -> [String] {
    let words = line.matches(of: /[A-Z]?[a-z]+|[A-Z]+(?![a-z])/).map { $0.output.lowercased() }
    // "order" alone is mostly a sequence: it counts as a type, an event, a stream or an id.
    let order = /\bOrder\b(?=[.:(<])|\bOrder[A-Z][a-z]+|\border-[0-9]|\border_?[iI][dD]\b/.wordBoundaryKind(.simple)
    let orders = line.matches(of: order)
    return words.filter(Self.words.contains) + orders.map { String($0.output) }
  }

  private static func sources(in folder: String) -> [URL] {
    let files = FileManager.default.enumerator(
      at: TestEnvironment.root.appendingPathComponent(folder), includingPropertiesForKeys: nil)
    return (files?.compactMap { $0 as? URL } ?? []).filter {
      ["swift", "sql", "js", "html", "css", "h"].contains($0.pathExtension)
    }
  }

  @Test("No source of the drivers and the toolkit has a word of trade")
  func sources() throws {
    var found: [String] = []
    for file in ["Sources/Drivers", "Sources/Toolkit"].flatMap(Self.sources) {
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        let words = Self.trade(in: String(line))
        if !words.isEmpty { found.append("\(file.lastPathComponent): \(words): \(line)") }
      }
    }
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test("The toolkit takes time, rest and chance from `Machine` alone, so that a simulation can replace them")
  func seams() throws {
    let clocks = /ContinuousClock(\(|\.now)|SuspendingClock|clock_gettime|DispatchTime|\bDate(\(\)|\.now)/
    // Of an instant; `Timestamp.now` reads the machine's clock. `DefaultTracerClock` gives the times of spans, on which nothing
    // depends.
    let instant = /(^|[^\w)\]?!])\.now\b(?!\()/
    let rest = /Task\.(sleep|yield|detached)|usleep|Thread\.sleep/
    let chance = /\bUUID\(\)|SystemRandomNumberGenerator|\.random\((?![^)]*using)|\.(randomElement|shuffled?)\(\)/
    var found: [String] = []
    for file in ["Sources/Drivers/EventLoop", "Sources/Toolkit"].flatMap(Self.sources)
    where file.pathExtension == "swift" {
      for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
        let isInstant = line.contains(instant) && !line.contains("Timestamp") && !line.contains("case .now")
        guard isInstant || line.contains(clocks) || line.contains(rest) || line.contains(chance) else { continue }
        found.append("\(file.lastPathComponent): \(line)")
      }
    }
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test("The commerce back end and the examples use public symbols of library products alone, as any user does")
  func publicProducts() async throws {
    struct Manifest: Decodable {
      struct Product: Decodable { let targets: [String], type: [String: [String]?] }
      struct Target: Decodable {
        struct Dependency: Decodable { let byName: [String?]?, target: [String?]? }
        let name: String, path: String?, packageAccess: Bool, dependencies: [Dependency]
      }
      let products: [Product], targets: [Target]
    }
    let process = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/env"),
      [
        "swift", "package", "--package-path", TestEnvironment.root.path,
        // The package's own folder is locked while `swift test` runs.
        "--scratch-path", TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("manifest")).path,
        "dump-package",
      ],
      environment: ProcessInfo.processInfo.environment)
    #expect(try await process.wait() == 0, "\(process.output)")
    let output = process.output
    let manifest = try JSONDecoder().decode(
      Manifest.self, from: Data(output[(try #require(output.firstIndex(of: "{")))...].utf8))
    let products = Set(manifest.products.filter { $0.type["library"] != nil }.flatMap(\.targets))
    let tools = ["counterflow", "loadtest", "simulate"].map { "Sources/Services/\($0)" }
    func isUser(_ target: Manifest.Target) -> Bool {
      guard let path = target.path, !tools.contains(path), !path.hasSuffix("Tests") else { return false }
      return ["Sources/Commerce/", "Sources/Services/", "Examples/"].contains { path.hasPrefix($0) }
    }
    let users = manifest.targets.filter(isUser)
    #expect(users.count > 15)
    for user in users {
      #expect(!user.packageAccess, "\(user.name)")
      let own = Set(users.map(\.name))
      let others = user.dependencies.compactMap { ($0.byName ?? $0.target)?.first ?? nil }.filter { !own.contains($0) }
      #expect(products.isSuperset(of: others), "\(user.name): \(others)")
    }
  }

  @Test(
    "A word of trade is found in every spelling, and a sequence is none",
    arguments: [
      ("case placed(OrderPlaced)", 1), ("let unitPrice: Int64", 1), ("select orders from t", 1), ("order-1001", 1),
      ("orderId: String", 1), ("Trigger(Order.self)", 1), ("CustomerID", 1), ("in the order of their positions", 0),
      ("order by position", 0), ("ListOrder.ascending()", 0), ("produces", 0),
    ])
  func finding(line: String, count: Int) { #expect(Self.trade(in: line).count == count, "\(Self.trade(in: line))") }
}
