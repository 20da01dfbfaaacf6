import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Mails to customers, by real processes", .tags(.system), .needsServers)
struct ShopMailTests {
  @Test(
    "Orders and shipments are confirmed, encrypted and after a login; without an address, or once erased, nobody is",
    .freshStores)
  func orders() async throws {
    let server = try await TestMailServer(.starttls)
    let shop = try await Shop(server, isSecure: true, settings: ["MAIL_FROM": "Shop <shop@example.org>"])
    for (id, email) in [
      ("ada", "ada@example.org"), ("bob", nil), ("eve", "eve@example.org"), ("zoe", "zoë@example.org"),
    ] as [(String, String?)] {
      try await shop.register(id, email)
    }
    // A later change without an address leaves it as it was.
    try await shop.send("PATCH", "/v1/customers/ada", ["name": "Ada L."])
    try await shop.send("DELETE", "/v1/customers/eve/personal-data", [:])
    for customer in ["ada", "bob", "eve", "zoe", "stranger", nil] {
      try await shop.order("o-\(customer ?? "none")", by: customer)
      try await shop.ship("o-\(customer ?? "none")")
    }
    // The order without a customer leads to one call: about its shipment.
    try await eventually("all is done") { try await shop.attempts("succeeded") == 11 }
    let mails = server.mails
    #expect(mails.map { $0["recipient"] } == ["ada@example.org", "ada@example.org"])
    let keys = try await shop.keys(of: "order-o-ada", ["OrderPlaced", "OrderShipped"])
    #expect(mails.map { $0["mail"]?["messageID"]?.string } == keys.map { "<\($0)@example.org>" })
    #expect(mails.map { $0["mail"]?["subject"] } == ["Your order o-ada", "Your order o-ada is on its way"])
    #expect(mails.last?["mail"]?["text"]?.string?.contains("Tracking code: AB 12") == true)
    #expect(mails.last?["mail"]?["html"]?.string?.contains("Tracking code: AB 12") == true)
    #expect(mails.allSatisfy { $0["isEncrypted"] == true && $0["user"] == .string(TestMailServer.user) })
    #expect(mails.allSatisfy { $0["mail"]?["from"] == ["name": "Shop", "address": "shop@example.org"] })
    let metrics = Families(try await shop.reactor.http.get("/metrics").text).values
    func count(_ outcome: String) -> Double? { metrics["counterflow_mails_total{outcome=\"\(outcome)\"}"] }
    #expect(count("sent") == 2 && count("unusable address") == 2 && count("no address") == 7, "\(metrics)")
    let log = shop.reactor.process.output
    #expect(log.contains("SMTP cannot carry the customer's address"))
    for secret in ["@example.org", "zoë", TestMailServer.user, TestMailServer.password] {
      #expect(!log.contains(secret))
    }
    let verified = try shop.system.run("counterflow", ["verify", "reaction/customer-mail"])
    #expect(try await verified.wait() == 0, "\(verified.output)")
  }

  @Test(
    "A mail whose reactor is killed before the server answers is sent again, with the same Message-ID", .freshStores)
  func killed() async throws {
    let server = try await TestMailServer(.plain)
    let shop = try await Shop(server)
    try await shop.register("late", "late@example.org")
    try await shop.order("o", by: "late")
    try await eventually("the server has accepted the mail") { server.mails.count == 1 }
    shop.reactor.process.signal(SIGKILL)
    _ = try await shop.system.start(.reactor)
    try await eventually("the attempt is recorded") { try await shop.attempts("succeeded") == 1 }
    let ids = server.mails.map { $0["mail"]?["messageID"]?.string }
    let key = try await shop.keys(of: "order-o", ["OrderPlaced"])[0]
    #expect(ids.count >= 2 && Set(ids) == ["<\(key)@localhost>"])
  }

  @Test("Mails wait for a server that is away, and then arrive in the order of their stream", .freshStores)
  func outage() async throws {
    let server = try await TestMailServer(.plain)
    try await server.stop()
    let shop = try await Shop(server)
    for customer in ["ada", "bob"] {
      try await shop.register(customer, "\(customer)@example.org")
      try await shop.order("o-\(customer)", by: customer)
      try await shop.ship("o-\(customer)")
    }
    try await eventually("attempts have failed") { try await shop.attempts("failed") >= 2 }
    let back = try await TestMailServer(.plain, port: server.port)
    try await eventually("all mails are there") { back.mails.count == 4 }
    for customer in ["ada", "bob"] {
      let subjects = back.mails.filter { $0["recipient"]?.string == "\(customer)@example.org" }
        .compactMap { $0["mail"]?["subject"]?.string }
      #expect(subjects == ["Your order o-\(customer)", "Your order o-\(customer) is on its way"])
    }
  }

  @Test(
    "A refused recipient waits for a person, who corrects the address and retries; others get their mails", .freshStores
  )
  func refused() async throws {
    let server = try await TestMailServer(.plain)
    let shop = try await Shop(server)
    try await shop.register("ada", "rcpt-550@example.org")
    try await shop.register("bob", "bob@example.org")
    for customer in ["ada", "bob"] {
      try await shop.order("o-\(customer)", by: customer)
      try await shop.ship("o-\(customer)")
    }
    func counterflow(_ arguments: String...) async throws -> String {
      let process = try shop.system.run("counterflow", arguments)
      _ = try await process.wait()
      return process.output
    }
    try await eventually("the others have their mails") { server.mails.count == 2 }
    try await eventually("the stream is parked") {
      try await counterflow("parked").contains("order-o-ada")
    }
    let shown = try await counterflow("parked", "show", "reaction/customer-mail", "order-o-ada")
    #expect(shown.contains("550") && !shown.contains("example.org"), "\(shown)")
    try await shop.send("PATCH", "/v1/customers/ada", ["email": "ada@example.org"])
    _ = try await counterflow("parked", "retry", "reaction/customer-mail", "order-o-ada")
    try await eventually("both mails are there") {
      server.mails.filter { $0["recipient"] == "ada@example.org" }.count == 2
    }
  }

  @Test("A login that the server refuses waits for no person: the mail goes out once SMTP_URL is right", .freshStores)
  func wrongLogin() async throws {
    let server = try await TestMailServer(.starttls)
    let shop = try await Shop(server, isSecure: true, settings: ["SMTP_URL": server.url(password: "wrong-password")])
    try await shop.register("ada", "ada@example.org")
    try await shop.order("o", by: "ada")
    try await eventually("attempts have failed") { try await shop.attempts("failed") >= 2 }
    #expect(try await shop.attempts("gave up") == 0)
    let log = shop.reactor.process.output
    #expect(log.contains("clientRefused(reply: 535)") && !log.contains("wrong-password"), "\(log)")
    shop.reactor.process.signal(SIGTERM)
    try await shop.reactor.process.wait()
    _ = try await shop.system.start(.reactor, settings: ["SMTP_URL": server.url()])
    try await eventually("the mail is there") { server.mails.count == 1 }
  }

  @Test("Without SMTP_URL the log says so, and what happens meanwhile leads to no mail later", .freshStores)
  func off() async throws {
    let server = try await TestMailServer(.plain)
    let shop = try await Shop(server, settings: ["SMTP_URL": ""])
    #expect(shop.reactor.process.output.contains("SMTP_URL is not set"))
    try await shop.register("ada", "ada@example.org")
    try await shop.order("before", by: "ada")
    try await shop.handled("order-before")
    shop.reactor.process.signal(SIGTERM)
    try await shop.reactor.process.wait()
    _ = try await shop.system.start(.reactor, settings: ["SMTP_URL": server.url(trusted: false)])
    try await shop.order("after", by: "ada")
    try await eventually("a mail is sent") { !server.mails.isEmpty }
    #expect(server.mails.map { $0["mail"]?["subject"] } == ["Your order after"])
    try await eventually("the attempt is recorded") { try await shop.attempts("succeeded") == 1 }
  }

  @Test("Customers who asked get one mail each time that a product is back in stock", .freshStores)
  func backInStock() async throws {
    let server = try await TestMailServer(.plain)
    let shop = try await Shop(server)
    try await shop.send("POST", "/v1/products", ["sku": "LAMP", "name": "Lamp", "unitPrice": 5])
    for customer in ["ada", "bob", "eve"] { try await shop.register(customer, "\(customer)@example.org") }
    func ask(_ customer: String, _ sku: String = "LAMP") async throws -> HTTPAnswer {
      try await shop.commands.http.post("/v1/products/\(sku)/notifications", ["customerId": .string(customer)])
    }
    for customer in ["ada", "bob", "eve"] { #expect(try await ask(customer).json["changed"] == true) }
    #expect(try await ask("ada").json["changed"] == false)
    #expect(try await ask("nobody").problem == "customer-unknown")
    #expect(try await ask("ada", "MISSING").status == 404)
    try await shop.send("DELETE", "/v1/customers/eve/personal-data", [:])
    #expect(try await ask("eve").problem == "customer-erased")
    // Every receipt but the first finds nobody who waits.
    for _ in 0..<3 { try await shop.send("POST", "/v1/products/LAMP/stock/receipts", ["quantity": 1]) }
    try await eventually("all were notified") { try await shop.attempts("succeeded") == 3 }
    #expect(Set(server.mails.map { $0["recipient"] }) == ["ada@example.org", "bob@example.org"])
    #expect(try await ask("ada").problem == "product-available")
    // Sold out, and available again.
    try await shop.order("all", by: nil, "LAMP", 3)
    #expect(try await ask("ada").json["changed"] == true)
    try await shop.send("POST", "/v1/orders/all/cancellation", [:])
    try await eventually("ada is notified again") { server.mails.count == 3 }
    let keys = try await shop.keys(of: "notice-LAMP/ada", ["BackInStockNoticed"])
    let mails = server.mails.filter { $0["recipient"] == "ada@example.org" }
    #expect(keys.count == 2 && mails.map { $0["mail"]?["messageID"]?.string } == keys.map { "<\($0)@localhost>" })
    #expect(mails.allSatisfy { $0["mail"]?["subject"] == "Lamp is back in stock" })
  }

  @Test("A long waiting list is notified once, and completely, though the reactor is killed meanwhile", .freshStores)
  func longList() async throws {
    let server = try await TestMailServer(.plain)
    let shop = try await Shop(server)
    try await shop.send("POST", "/v1/products", ["sku": "LAMP", "name": "Lamp", "unitPrice": 5])
    for number in 0..<220 {
      try await shop.register("c\(number)", "c\(number)@example.org")
      try await shop.send("POST", "/v1/products/LAMP/notifications", ["customerId": .string("c\(number)")])
    }
    try await shop.send("POST", "/v1/products/LAMP/stock/receipts", ["quantity": 1])
    try await eventually("some mails are sent") { server.mails.count >= 20 }
    shop.reactor.process.signal(SIGKILL)
    _ = try await shop.system.start(.reactor)
    try await eventually("every mail is recorded") { try await shop.attempts("succeeded") == 220 }
    let mails = Set(server.mails.map { [$0["recipient"], $0["mail"]?["messageID"]] })
    #expect(mails.count == 220, "one Message-ID for each customer")
    #expect(Set(server.mails.map { $0["connection"] }).count <= 16, "eight at once for each of the two reactors")
    #expect(Set(mails.map { $0[0] }).count == 220 && Set(mails.map { $0[1] }).count == 220)
  }
}

/// A command-service and a reactor that sends mails, with one product whose stock is not tracked.
private struct Shop {
  let system: System
  let commands: RunningService
  let reactor: RunningService
  private let owner: PostgresConnection

  /// - Parameter isSecure: whether the server has a certificate.
  init(_ server: TestMailServer, isSecure: Bool = false, settings: [String: String] = [:]) async throws {
    system = System(
      settings: ["SMTP_URL": server.url(trusted: isSecure), "SMTP_TIMEOUT": "5"].merging(settings) { $1 })
    try await system.migrate()
    commands = try await system.startReady(.commandService)
    reactor = try await system.startReady(.reactor)
    let owner = try await FreshDatabase.current.connect()
    self.owner = owner
    // They react to what happens from then on.
    try await eventually("the reactions have begun") {
      try await owner.query(
        "select count(*) filter (where projection = 'reaction/customer-mail'), count(*) from projections.checkpoints where owner is not null"
      ).decode((Int, Int).self).first.map { $0 == (16, 33) } ?? false
    }
    try await send("POST", "/v1/products", ["sku": "MUG", "name": "Mug", "unitPrice": 5, "tracksStock": false])
  }

  func send(_ method: String, _ path: String, _ body: JSON) async throws {
    let answer = try await commands.http.send(
      method, path, body: body.encoded, contentType: "application/json")
    #expect((200..<300).contains(answer.status), "\(path): \(answer.text)")
  }

  func register(_ id: String, _ email: String?) async throws {
    try await send(
      "POST", "/v1/customers",
      ["customerId": .string(id), "name": "N", "email": email.map { JSON.string($0) } ?? .null])
  }

  func order(_ id: String, by customer: String?, _ sku: String = "MUG", _ quantity: Int64 = 1) async throws {
    try await send(
      "POST", "/v1/orders",
      [
        "orderId": .string(id), "customerId": customer.map { JSON.string($0) } ?? .null,
        "lines": [["sku": .string(sku), "quantity": .integer(quantity)]],
      ])
  }

  func ship(_ id: String) async throws {
    try await send("POST", "/v1/orders/\(id)/payment", ["amount": 5])
    try await send("POST", "/v1/orders/\(id)/shipment", ["carrier": "Post", "trackingCode": "AB 12"])
  }

  /// Returns the number of attempts at mails with that outcome.
  func attempts(_ outcome: String) async throws -> Int {
    try await owner.query("select count(*) from event_store.effect_attempts where outcome = \(outcome)").value(Int.self)
  }

  /// Returns the keys of the mails that follow from the events of a stream.
  func keys(of stream: String, _ types: [String]) async throws -> [String] {
    try await owner.query(
      """
      select 'reaction/customer-mail/' || id::text from event_store.events
      where stream = \(stream) and type = any(\(array: types)) order by position
      """
    ).decode(String.self)
  }

  /// Waits until the events of a stream have been handled.
  func handled(_ stream: String) async throws {
    try await eventually("\(stream) is handled") {
      try await owner.query(
        """
        select count(*) from projections.checkpoints c, event_store.events e
        where c.projection = 'reaction/customer-mail' and e.stream = \(stream) and c.event_id = e.id
        """
      ).value(Int.self) == 1
    }
  }
}
