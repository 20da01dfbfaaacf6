import Foundation
import JSON
import Postgres
import RabbitMQ
import TestSupport
import Testing

@Suite("Personal data", .tags(.system), .needsServers)
struct PersonalDataTests {
  private let name = "Ada Augusta Byron-Lovelace"
  private let email = "Ada.Lovelace.1815@example.org"

  /// Which of the texts the bytes contain, ignoring case.
  private func found(_ texts: [String], in bytes: Data) -> [String] {
    let plain = String(decoding: bytes, as: UTF8.self).lowercased()
    return texts.filter { plain.contains($0.lowercased()) }
  }

  /// The output of a tool in the servers' version.
  private func run(_ arguments: [String]) async throws -> Data {
    let process = try ChildProcess(TestEnvironment.root.appendingPathComponent("scripts/lib/serve"), arguments)
    try #require(try await process.wait() == 0, "\(process.output.suffix(1000))")
    return try Data(contentsOf: process.log)
  }

  @Test(
    "After an erasure no name or e-mail remains in databases, broker, logs or rebuilds",
    .freshStores, .freshVirtualHost)
  func erasure() async throws {
    let server = try await TestMailServer(.plain)
    let system = System(settings: ["SMTP_URL": server.url(trusted: false)])
    try await system.migrate()
    let services = [
      try await system.startReady(.commandService), try await system.startReady(.relay),
      try await system.startReady(.projector), try await system.startReady(.queryService),
      try await system.startReady(.reactor),
    ]
    let (commands, queries) = (services[0].http, services[3].http)
    func counterflow(_ arguments: String...) async throws -> (status: Int32, output: String) {
      let process = try system.run("counterflow", arguments)
      return (try await process.wait(), process.output)
    }
    // A consumer whose queue gets every event, and which does not read them yet.
    let broker = try await RabbitMQConnection.connect(FreshVirtualHost.current.configuration)
    try await broker.declare(Exchange("counterflow.events", .topic, isDurable: true))
    let queue = try await broker.declare(
      Queue("everything", isDurable: true, arguments: ["x-queue-type": "quorum"]))
    try await broker.bind(queue: queue.name, to: "counterflow.events", routingKey: "#")

    let customer: JSON = ["customerId": "ada", "name": .string(name), "email": .string(email), "country": "England"]
    func registerAda() async throws -> HTTPAnswer {
      try await commands.send("POST", "/v1/customers", body: customer.encoded, headers: ["Idempotency-Key": "ada"])
    }
    let registered = try await registerAda()
    #expect(registered.status == 201)
    #expect(try await commands.post("/v1/customers", customer).problem == "customer-exists")
    let other: JSON = ["customerId": "bob", "name": "Bob Babbage", "email": "bob@example.org"]
    #expect(try await commands.post("/v1/customers", other).status == 201)
    _ = try await commands.post(
      "/v1/products", ["sku": "L", "name": "Lantern", "unitPrice": 300, "tracksStock": false])
    _ = try await commands.post(
      "/v1/orders",
      [
        "orderId": "o", "customerId": "ada", "placedAt": "2026-11-01T00:00:00Z",
        "lines": [["sku": "L", "quantity": 2]],
      ])
    try await eventually("the customer is read, with what was ordered") {
      let read = try await queries.get("/v1/customers/ada").json
      return read["name"] == .string(name) && read["spent"] == 600
    }
    let changed = try await commands.send(
      "PATCH", "/v1/customers/ada", body: (["email": "countess@example.org"] as JSON).encoded,
      contentType: "application/json")
    #expect(changed.status == 200)
    try await eventually("the change is read") {
      try await queries.get("/v1/customers/ada").json["email"] == "countess@example.org"
    }
    #expect(
      try await queries.get("/v1/customers/ada").json == [
        "customerId": "ada", "name": .string(name), "email": "countess@example.org", "country": "England",
        "erasedAt": nil, "version": 2, "orders": 1, "spent": 600, "returned": 0,
        "firstOrderAt": "2026-11-01T00:00:00Z", "lastOrderAt": "2026-11-01T00:00:00Z",
      ])
    func customers(_ query: String) async throws -> [String] {
      try await queries.get("/v1/customers?\(query)").json["items"]?.array?.compactMap { $0["customerId"]?.string }
        ?? []
    }
    try await eventually("both are there") { try await customers("") == ["ada", "bob"] }
    #expect(try await customers("q=lovel") == ["ada"])
    #expect(try await customers("q=babage") == ["bob"])
    #expect(try await customers("email=COUNTESS@example.org") == ["ada"])
    #expect(try await queries.get("/v1/orders?q=augusta").json["items"]?.array?.count == 1)
    let first = try await queries.get("/v1/customers?limit=1").json
    #expect(try await customers("limit=1&cursor=\(try #require(first["nextCursor"]?.string))") == ["bob"])
    // A build of the past contains no data that can be erased.
    let position = try await FreshDatabase.current.connect().query("select max(position) from event_store.events")
      .value(Int64.self)
    #expect(try await counterflow("rebuild", "customers", "--until", "\(position)").status == 0)

    let history = "/v1/customers/ada/history"
    #expect(try await queries.get(history).json["items"]?[1]?["data"]?["email"] == "countess@example.org")
    #expect(try await queries.get("/v1/customers/ada?version=1").json["name"] == .string(name))

    try await eventually("the order is confirmed by mail") { server.mails.count == 1 }
    let receipt = try await commands.send("DELETE", "/v1/customers/ada/personal-data")
    #expect(receipt.status == 200 && receipt.json["changed"] == true, "\(receipt.text)")
    #expect(receipt.json["events"] == 2 && receipt.json["rows"] == nil)
    // The history is still readable, without the personal data.
    let told = try #require(try await queries.get(history).json["items"]?.array)
    #expect(
      told.map { $0["data"]?["name"] } == [nil, nil, nil] && told.map { $0["data"]?["email"] } == [nil, nil, nil])
    #expect(try await queries.get("/v1/customers/ada?version=1").json["name"]?.isNull == true)
    let again = try await commands.send("DELETE", "/v1/customers/ada/personal-data")
    #expect(again.json["changed"] == false && again.json["erasedAt"] == receipt.json["erasedAt"])
    #expect(try await commands.send("DELETE", "/v1/customers/nobody/personal-data").status == 404)
    #expect(try await commands.post("/v1/customers", customer).status == 409)
    // The idempotency key outlives the person's encryption key.
    let repeated = try await registerAda()
    #expect(repeated.status == 201 && repeated.body == registered.body)
    let late = try await commands.send(
      "PATCH", "/v1/customers/ada", body: (["name": "A"] as JSON).encoded, contentType: "application/json")
    #expect(late.problem == "customer-erased")
    try await eventually("the row is scrubbed") {
      try await queries.get("/v1/customers/ada").json["erasedAt"] == receipt.json["erasedAt"]
    }
    let rebuilt = try await counterflow("rebuild", "customers")
    #expect(rebuilt.status == 0, "\(rebuilt.output)")
    let verified = try await counterflow("verify")
    #expect(verified.status == 0, "\(verified.output)")
    // Orders, sums and other customers stay.
    let read = try await queries.get("/v1/customers/ada").json
    #expect(read["name"] == JSON.null && read["email"] == JSON.null && read["spent"] == 600)
    #expect(try await queries.get("/v1/customers/bob").json["name"] == "Bob Babbage")
    #expect(try await customers("q=lovelace") == [])

    let texts = [name, email, "Lovelace", "countess@example.org"]
    for database in [FreshDatabase.current!, FreshDatabase.readStore!] {
      let dump = try await run(["pg_dump", database.url])
      #expect(dump.contains(Data("PostgreSQL database dump complete".utf8)))
      #expect(found(texts, in: dump) == [], "\(database.name)")
      // Other customers' data are there: encrypted in the write store, in plain text in the read store.
      #expect(found(["Bob Babbage"], in: dump).isEmpty == (database.name == FreshDatabase.current.name))
    }
    var delivered = 0
    for try await delivery in try await broker.consume(queue: queue.name, prefetch: 100) {
      #expect(found(texts + ["Babbage"], in: Data(delivery.body)) == [])
      delivered += 1
      if String(decoding: delivery.body, as: UTF8.self).contains("PersonalDataErased") { break }
    }
    #expect(delivered == 6)
    if let folder = ProcessInfo.processInfo.environment["TEST_RABBITMQ_DATA"] {
      let files = FileManager.default.enumerator(atPath: folder)
      var bytes = 0
      while let file = files?.nextObject() as? String {
        guard let data = FileManager.default.contents(atPath: folder + "/" + file) else { continue }
        bytes += data.count
        #expect(found(texts, in: data) == [], "\(file)")
      }
      #expect(bytes > 0)
    }
    for service in services {
      #expect(found(texts, in: Data(service.process.output.utf8)) == [])
    }
  }

  @Test("A failed registration leaves no encryption key behind, and removes none that is in use", .freshDatabase())
  func unusedKeys() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let database = try await FreshDatabase.current.connect()
    func register(_ name: String, _ headers: [String: String], id: String? = nil) async throws -> HTTPAnswer {
      let body: JSON = id.map { ["name": .string(name), "customerId": .string($0)] } ?? ["name": .string(name)]
      return try await commands.http.send("POST", "/v1/customers", body: body.encoded, headers: headers)
    }
    func persons() async throws -> [String] {
      try await database.query("select person from personal.keys where key is not null").decode(String.self)
    }
    let registered = try await register("Ada", ["Idempotency-Key": "k"])
    #expect(registered.status == 201)
    let id = try #require(registered.json["id"]?.string)
    #expect(try await register("Ada", ["Idempotency-Key": "k"]).body == registered.body)
    #expect(try await register("Bob", ["Idempotency-Key": "k"]).problem == "idempotency-key-reused")
    // Invalid headers are rejected before a key is made, with or without an id.
    for id in [nil, "ghost"] {
      for headers in [["If-Match": "3"], ["X-Correlation-Id": "a b"], ["Idempotency-Key": "a b"]] {
        #expect(try await register("Bob", headers, id: id).problem == "invalid-header")
      }
    }
    #expect(try await persons() == [id])
    // A key whose person has events cannot be discarded.
    try await database.query("select personal.discard_key(\(id), \("customer-" + id))")
    #expect(try await persons() == [id])
  }
}
