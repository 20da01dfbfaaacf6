import Commerce
import CommerceReadModels
import EventSourcing
import HTTPTypes
import Hummingbird
import JSON
import Projections
import ServiceKit

/// HTTP in front of the read tables.
struct QueryRoutes {
  let answering: Answering

  func add(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/orders/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "order")
      if let moment = try Self.moment(request) {
        return try await answering.answer(request, missing: Self.absent("order", id)) {
          try await $0.order(id, at: moment)
        }
      }
      return try await answering.answer(
        request, [Reads("orders", Order.stream(id))], missing: Self.missing("order", id), isShared: false
      ) { models in
        try await models.order.value(id).map { Answer(bytes: $0.document, version: $0.version) }
      }
    }
    router.get("/v1/orders") { request, _ in
      var parameters = Parameters(request)
      var filter = OrderQueries.Filter()
      filter.customerID = try parameters.text("customerId", problem: Identifier.problem)
      filter.country = try parameters.country()
      filter.text = try parameters.search()
      return try await page(request, filter, parameters)
    }
    router.get("/v1/customers/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "customer")
      if let moment = try Self.moment(request) {
        return try await answering.answer(request, missing: Self.absent("customer", id)) {
          try await $0.customer(id, at: moment)
        }
      }
      let reads = [Reads("customers", Customer.stream(id)), .orders, .sales]
      return try await answering.answer(request, reads, missing: Self.missing("customer", id)) { models in
        try await models.byKey.customers.customer(id).map { Answer(bytes: $0.document, version: $0.version) }
      }
    }
    router.get("/v1/customers") { request, _ in
      var parameters = Parameters(request)
      let text = try parameters.search()
      let email = try parameters.text("email") { $0.utf8.count <= 254 ? nil : "must have at most 254 bytes" }
      let limit = try parameters.limit(default: 20, atMost: 100)
      let cursor = try parameters.cursor { CustomerQueries.Cursor(opaque: $0) }
      let tag = parameters.tag
      try parameters.finish()
      return try await answering.answer(request, [.customers, .orders, .sales]) { models in
        let page = try await models.lists.customers.search(text: text, email: email, after: cursor, limit: limit)
        return list(page.items, next: page.next.map { tag + $0.opaque })
      }
    }
    router.get("/v1/customers/{id}/orders") { request, context in
      let id = try context.pathParameter("id")
      guard Identifier.problem(id) == nil else { throw Problem.notFound("\(id) is not a customer's id.") }
      var filter = OrderQueries.Filter()
      filter.customerID = id
      return try await page(request, filter, Parameters(request))
    }
    router.get("/v1/products/{sku}") { request, context in
      let text = try context.pathParameter("sku")
      guard let sku = SKU(text) else { throw Problem.notFound(Self.missing("product", text)) }
      if let moment = try Self.moment(request) {
        return try await answering.answer(request, missing: Self.absent("product", text)) {
          try await $0.product(sku, at: moment)
        }
      }
      let reads = [Reads("catalogue", Product.stream(sku.rawValue)), .sales]
      return try await answering.answer(request, reads, missing: Self.missing("product", text)) { models in
        try await models.byKey.catalogue.product(sku.rawValue).map { Answer(bytes: $0.document, version: $0.version) }
      }
    }
    router.get("/v1/products") { request, _ in try await products(request, Parameters(request)) }
    router.get("/v1/returns/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "return")
      let reads = [Reads("returns", Return.stream(id))]
      return try await answering.answer(request, reads, missing: Self.missing("return", id)) { models in
        // A return never changes.
        try await models.byKey.returns.recorded(id).map { Answer(bytes: $0, version: 1) }
      }
    }
    router.get("/v1/orders/{id}/history") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "order")
      return try await history(request, Order.stream(id), missing: Self.missing("order", id))
    }
    router.get("/v1/customers/{id}/history") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "customer")
      return try await history(request, Customer.stream(id), missing: Self.missing("customer", id))
    }
    router.get("/v1/products/{sku}/history") { request, context in
      let text = try context.pathParameter("sku")
      guard let sku = SKU(text) else { throw Problem.notFound(Self.missing("product", text)) }
      return try await history(request, Product.stream(sku.rawValue), missing: Self.missing("product", text))
    }
    addSales(to: router)
  }

  private func history(_ request: Request, _ stream: StreamID, missing: String) async throws -> Response {
    var parameters = Parameters(request)
    let limit = try parameters.limit(default: 100, atMost: 1000)
    let cursor = try parameters.cursor { VersionCursor(opaque: $0) }
    let tag = parameters.tag
    try parameters.finish()
    return try await answering.answer(request, missing: missing) { histories in
      try await histories.events(of: stream, after: cursor?.version ?? .none, limit: limit).map { page in
        list(page.items, next: page.next.map { tag + VersionCursor(version: $0).opaque })
      }
    }
  }

  private static func moment(_ request: Request) throws -> Histories.Moment? {
    guard request.uri.query != nil else { return nil }
    var parameters = Parameters(request)
    let moment = try parameters.moment()
    try parameters.finish()
    return moment
  }

  private static func absent(_ what: String, _ id: String) -> String {
    "There was no \(what) \(id) then, or it has not come to that version."
  }

  /// What is no id names nothing.
  private static func check(_ id: String, _ what: String) throws(Problem) {
    guard Identifier.problem(id) == nil else { throw .notFound(missing(what, id)) }
  }

  private static func missing(_ what: String, _ id: String) -> String {
    "There is no \(what) \(id), or it has not come here yet."
  }

  private func page(
    _ request: Request, _ filter: OrderQueries.Filter, _ parameters: consuming Parameters
  ) async throws -> Response {
    var filter = filter
    filter.status = try parameters.choice("status", Self.statuses)
    filter.from = try parameters.time("from")
    filter.to = try parameters.time("to")
    filter.isOldestFirst = try parameters.choice("sort", ["-placedAt", "placedAt"]) == "placedAt"
    let limit = try parameters.limit(default: 20, atMost: 100)
    let cursor = try parameters.cursor { OrderQueries.Cursor(opaque: $0) }
    let tag = parameters.tag
    try parameters.finish()
    var plain = OrderQueries.Filter()
    plain.customerID = filter.customerID
    if let id = filter.customerID, cursor == nil, filter == plain {
      return try await answering.answer(request, [.orders], isShared: false) { models in
        guard let page = try await models.newest.value(FirstPage(customerID: id, limit: limit)) else { return nil }
        return list(joined: page.joined, next: page.next.map { tag + $0.opaque })
      }
    }
    // A text is looked for among the names of products and customers.
    let reads: [Reads] = filter.text == nil ? [.orders] : [.orders, .catalogue, .customers]
    return try await answering.answer(request, reads) { [filter] models in
      let page = try await models.lists.orders.search(filter, after: cursor, limit: limit)
      return list(page.items, next: page.next.map { tag + $0.opaque })
    }
  }

  static let statuses = ["placed", "paid", "shipped", "delivered", "cancelled"]

  private func products(_ request: Request, _ parameters: consuming Parameters) async throws -> Response {
    var filter = CatalogueQueries.Filter()
    filter.text = try parameters.search()
    filter.isOnSale = try parameters.boolean("onSale")
    filter.isInStock = try parameters.boolean("inStock")
    filter.minimumPrice = try parameters.amount("minPrice")
    filter.maximumPrice = try parameters.amount("maxPrice")
    let order = try parameters.choice("sort", CatalogueQueries.Order.allCases.map(\.rawValue))
    filter.order = order.flatMap { CatalogueQueries.Order(rawValue: $0) } ?? (filter.text == nil ? .sku : .relevance)
    let limit = try parameters.limit(default: 20, atMost: 100)
    let cursor = try parameters.cursor { CatalogueQueries.Cursor(opaque: $0) }
    let tag = parameters.tag
    try parameters.finish()
    return try await answering.answer(request, [.catalogue, .sales]) { [filter] models in
      guard let page = try await models.lists.catalogue.search(filter, after: cursor, limit: limit) else {
        throw Parameters.wrong("cursor", "must be the nextCursor of an earlier answer to the same query")
      }
      return list(page.items, next: page.next.map { tag + $0.opaque })
    }
  }

  private func addSales(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/sales") { request, _ in
      var parameters = Parameters(request)
      let interval = try parameters.choice("interval", SalesQueries.Interval.allCases.map(\.rawValue))
        .flatMap { SalesQueries.Interval(rawValue: $0) }
      let filter = try salesFilter(&parameters, hasCountry: true)
      let limit = try parameters.limit(default: 100, atMost: 1000)
      let cursor = try parameters.cursor { DayCursor(opaque: $0)?.day }
      let tag = parameters.tag
      try parameters.finish()
      return try await answering.answer(request, [.sales]) { models in
        let page = try await models.lists.sales.periods(interval ?? .day, filter, after: cursor, limit: limit)
        return list(page.items, next: page.next.map { tag + DayCursor(day: $0).opaque })
      }
    }
    router.get("/v1/sales/products") { request, _ in
      var parameters = Parameters(request)
      let measure = try measure(&parameters, SalesQueries.Measure.allCases)
      let filter = try salesFilter(&parameters, hasCountry: true)
      let limit = try parameters.limit(default: 20, atMost: 1000)
      try parameters.finish()
      return try await answering.answer(request, [.sales, .catalogue]) { models in
        list(try await models.lists.sales.products(filter, by: measure, limit: limit), next: nil)
      }
    }
    router.get("/v1/sales/countries") { request, _ in
      var parameters = Parameters(request)
      let filter = try salesFilter(&parameters, hasCountry: false)
      try parameters.finish()
      return try await answering.answer(request, [.sales]) { models in
        list(try await models.lists.sales.countries(filter), next: nil)
      }
    }
    router.get("/v1/sales/customers") { request, _ in
      var parameters = Parameters(request)
      let measure = try measure(&parameters, [.net, .gross])
      let limit = try parameters.limit(default: 20, atMost: 1000)
      try parameters.finish()
      return try await answering.answer(request, [.sales]) { models in
        list(try await models.lists.sales.customers(by: measure, limit: limit), next: nil)
      }
    }
  }

  private func salesFilter(_ parameters: inout Parameters, hasCountry: Bool) throws -> SalesQueries.Filter {
    var filter = SalesQueries.Filter()
    filter.from = try parameters.day("from")
    filter.to = try parameters.day("to")
    if hasCountry { filter.country = try parameters.country() }
    return filter
  }

  private func measure(
    _ parameters: inout Parameters, _ allowed: [SalesQueries.Measure]
  ) throws -> SalesQueries.Measure {
    try parameters.choice("by", allowed.map(\.rawValue)).flatMap { SalesQueries.Measure(rawValue: $0) } ?? .net
  }

  private func list(_ items: [[UInt8]], next: String?) -> Answer {
    list(joined: Array(items.joined(separator: [UInt8(ascii: ",")])), next: next)
  }

  /// - Parameter joined: the elements of a JSON array.
  private func list(joined: [UInt8], next: String?) -> Answer {
    var json = JSONWriter(reserving: joined.count + 128)
    json.object { json in
      json.member("items", raw: [UInt8(ascii: "[")] + joined + [UInt8(ascii: "]")])
      json.member("nextCursor") { if let next { $0.write(next) } else { $0.writeNull() } }
    }
    return Answer(bytes: json.bytes)
  }
}
