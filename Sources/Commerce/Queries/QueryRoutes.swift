internal import Commerce
internal import CommerceReadModels
internal import CommerceStore
internal import EventSourcing
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Projections
internal import QueryKit

/// The HTTP routes of all queries.
struct QueryRoutes {
  let queries: Queries
  private var responder: QueryResponder { queries.responder }

  func add(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/orders/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "order")
      if let moment = try Self.moment(request) {
        return try await responder.answer(request, missing: Self.absent("order", id)) {
          try await $0.row(id, of: Order.stream(id), at: moment) { _ in Orders() }
        }
      }
      return try await responder.answer(
        request, [Reads("orders", Order.stream(id))], missing: Self.missing("order", id), isShared: false
      ) { access in
        try await access.row("orders", id).map { QueryResult($0) }
      }
    }
    router.get("/v1/orders") { request, context in
      var parameters = QueryParameters(request)
      var filter = OrderQueries.Filter()
      filter.customerID = try parameters.text("customerId", problem: Identifier.problem)
      filter.country = try parameters.country()
      filter.text = try parameters.search()
      // The text is also looked for in the names of customers.
      var reader = try filter.text.map { _ in try queries.reader(request, context, .personalDataRead) }
      reader?.searchesPersons = true
      filter.searchesCustomers = reader?.maySeePersonalData ?? true
      return try await page(request, filter, parameters, to: reader)
    }
    router.get("/v1/customers/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "customer")
      let moment = try Self.moment(request)
      let reader = try queries.reader(request, context, .personalDataRead)
      if let moment {
        return try await responder.answer(request, missing: Self.absent("customer", id), to: reader) {
          try await $0.row(id, of: Customer.stream(id), at: moment) { Customers(keys: $0) }?.about([id])
        }
      }
      let reads = [Reads("customers", Customer.stream(id)), .orders, .sales]
      return try await responder.answer(request, reads, missing: Self.missing("customer", id), to: reader) { access in
        try await CustomerQueries(access.byKey, showsPersonalData: reader.maySeePersonalData).customer(id)
          .map { QueryResult($0).about([id]) }
      }
    }
    router.get("/v1/customers") { request, context in
      var parameters = QueryParameters(request)
      let text = try parameters.search()
      let email = try parameters.text("email") { $0.utf8.count <= 254 ? nil : "must have at most 254 bytes" }
      let limit = try parameters.limit(default: 20, atMost: 100)
      let cursor = try parameters.cursor { CustomerQueries.Cursor(opaque: $0) }
      let tag = parameters.tag
      try parameters.finish()
      // A search would tell whether a name or an address is known.
      if text != nil || email != nil { try context.caller.require(.personalDataRead) }
      var reader = try queries.reader(request, context, .personalDataRead)
      reader.searchesPersons = text != nil || email != nil
      let showsPersonalData = reader.maySeePersonalData
      return try await responder.answer(request, [.customers, .orders, .sales], to: reader) { access in
        let page = try await CustomerQueries(access.lists, showsPersonalData: showsPersonalData)
          .search(text: text, email: email, after: cursor, limit: limit)
        return QueryResult(items: page.items, next: page.next.map { tag + $0.opaque }).about(page.customers)
      }
    }
    router.get("/v1/customers/{id}/orders") { request, context in
      let id = try context.pathParameter("id")
      guard Identifier.problem(id) == nil else { throw Problem.notFound("\(id) is not a customer's id.") }
      var filter = OrderQueries.Filter()
      filter.customerID = id
      return try await page(request, filter, QueryParameters(request), to: nil)
    }
    router.get("/v1/products/{sku}") { request, context in
      let text = try context.pathParameter("sku")
      guard let sku = SKU(text) else { throw Problem.notFound(Self.missing("product", text)) }
      if let moment = try Self.moment(request) {
        return try await responder.answer(request, missing: Self.absent("product", text)) {
          try await $0.row(sku.rawValue, of: Product.stream(sku.rawValue), at: moment) { _ in Catalogue() }
        }
      }
      let reads = [Reads("catalogue", Product.stream(sku.rawValue)), .sales]
      return try await responder.answer(request, reads, missing: Self.missing("product", text)) { access in
        try await CatalogueQueries(access.byKey).product(sku.rawValue).map { QueryResult($0) }
      }
    }
    router.get("/v1/products") { request, _ in try await products(request, QueryParameters(request)) }
    router.get("/v1/returns/{id}") { request, context in
      let id = try context.pathParameter("id")
      try Self.check(id, "return")
      let reads = [Reads("returns", Return.stream(id))]
      return try await responder.answer(request, reads, missing: Self.missing("return", id)) { access in
        try await access.row("returns", id).map { QueryResult($0) }
      }
    }
    for route in Self.ofStreams { queries.add(route, to: router) }
    addSales(to: router)
  }

  private static let ofStreams: [QueryRoute] = [
    .history("/v1/orders/{id}/history", of: Order.self, named: named("order")),
    .history("/v1/customers/{id}/history", of: Customer.self, named: named("customer")),
    .history(
      "/v1/products/{sku}/history", of: Product.self,
      named: Naming(missing: { missing("product", $0) }, id: { SKU($0)?.rawValue })),
    .changes("/v1/orders/{id}/changes", of: Order.self, in: Orders(), named: named("order")),
  ]

  private static func named(_ what: String) -> Naming {
    Naming(missing: { missing(what, $0) }, id: { Identifier.problem($0) == nil ? $0 : nil })
  }

  private static func moment(_ request: Request) throws -> Histories.Moment? {
    guard request.uri.query != nil else { return nil }
    var parameters = QueryParameters(request)
    let moment = try parameters.moment()
    try parameters.finish()
    return moment
  }

  private static func absent(_ what: String, _ id: String) -> String {
    "There was no \(what) \(id) then, or it has not come to that version."
  }

  /// An invalid id names nothing, so it is reported as not found.
  private static func check(_ id: String, _ what: String) throws(Problem) {
    guard Identifier.problem(id) == nil else { throw .notFound(missing(what, id)) }
  }

  private static func missing(_ what: String, _ id: String) -> String {
    "There is no \(what) \(id), or it has not come here yet."
  }

  private func page(
    _ request: Request, _ filter: OrderQueries.Filter, _ parameters: consuming QueryParameters, to reader: Reader?
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
      return try await responder.answer(request, [.orders], isShared: false) { access in
        guard let page = try await access.newestOrders.value(FirstPage(customerID: id, limit: limit)) else {
          return nil
        }
        return QueryResult(joined: page.joined, next: page.next.map { tag + $0.opaque })
      }
    }
    // A text search also reads the names of products and customers.
    let reads: [Reads] = filter.text == nil ? [.orders] : [.orders, .catalogue, .customers]
    return try await responder.answer(request, reads, to: reader) { [filter] access in
      let page = try await OrderQueries(access.lists).search(filter, after: cursor, limit: limit)
      return QueryResult(items: page.items, next: page.next.map { tag + $0.opaque })
    }
  }

  static let statuses = ["placed", "paid", "shipped", "delivered", "cancelled"]

  private func products(_ request: Request, _ parameters: consuming QueryParameters) async throws -> Response {
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
    return try await responder.answer(request, [.catalogue, .sales]) { [filter] access in
      guard let page = try await CatalogueQueries(access.lists).search(filter, after: cursor, limit: limit) else {
        throw QueryParameters.wrong("cursor", "must be the nextCursor of an earlier answer to the same query")
      }
      return QueryResult(items: page.items, next: page.next.map { tag + $0.opaque })
    }
  }

  private func addSales(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/sales") { request, _ in
      var parameters = QueryParameters(request)
      let interval = try parameters.choice("interval", SalesQueries.Interval.allCases.map(\.rawValue))
        .flatMap { SalesQueries.Interval(rawValue: $0) }
      let filter = try salesFilter(&parameters, hasCountry: true)
      let limit = try parameters.limit(default: 100, atMost: 1000)
      let cursor = try parameters.cursor { DayCursor(opaque: $0)?.day }
      let tag = parameters.tag
      try parameters.finish()
      return try await responder.answer(request, [.sales]) { access in
        let page = try await SalesQueries(access.lists).periods(interval ?? .day, filter, after: cursor, limit: limit)
        return QueryResult(items: page.items, next: page.next.map { tag + DayCursor(day: $0).opaque })
      }
    }
    router.get("/v1/sales/products") { request, _ in
      var parameters = QueryParameters(request)
      let measure = try measure(&parameters, SalesQueries.Measure.allCases)
      let filter = try salesFilter(&parameters, hasCountry: true)
      let limit = try parameters.limit(default: 20, atMost: 1000)
      try parameters.finish()
      return try await responder.answer(request, [.sales, .catalogue]) { access in
        QueryResult(items: try await SalesQueries(access.lists).products(filter, by: measure, limit: limit), next: nil)
      }
    }
    router.get("/v1/sales/countries") { request, _ in
      var parameters = QueryParameters(request)
      let filter = try salesFilter(&parameters, hasCountry: false)
      try parameters.finish()
      return try await responder.answer(request, [.sales]) { access in
        QueryResult(items: try await SalesQueries(access.lists).countries(filter), next: nil)
      }
    }
    router.get("/v1/sales/customers") { request, _ in
      var parameters = QueryParameters(request)
      let measure = try measure(&parameters, [.net, .gross])
      let limit = try parameters.limit(default: 20, atMost: 1000)
      try parameters.finish()
      return try await responder.answer(request, [.sales]) { access in
        QueryResult(items: try await SalesQueries(access.lists).customers(by: measure, limit: limit), next: nil)
      }
    }
  }

  private func salesFilter(_ parameters: inout QueryParameters, hasCountry: Bool) throws -> SalesQueries.Filter {
    var filter = SalesQueries.Filter()
    filter.from = try parameters.day("from")
    filter.to = try parameters.day("to")
    if hasCountry { filter.country = try parameters.country() }
    return filter
  }

  private func measure(
    _ parameters: inout QueryParameters, _ allowed: [SalesQueries.Measure]
  ) throws -> SalesQueries.Measure {
    try parameters.choice("by", allowed.map(\.rawValue)).flatMap { SalesQueries.Measure(rawValue: $0) } ?? .net
  }
}

extension QueryResult {
  /// The result, with the customers whose personal data it has.
  fileprivate func about(_ persons: [String]) -> QueryResult {
    var result = self
    result.persons = persons
    return result
  }
}

extension Reads {
  static let orders = Reads("orders")
  static let customers = Reads("customers")
  static let catalogue = Reads("catalogue")
  static let sales = Reads("sales")
}

/// Names a first page of a customer's newest orders.
private struct FirstPage: Hashable, Sendable {
  let customerID: String
  let limit: Int
}

extension ReadAccess {
  /// Coalesces first pages that are requested at the same time into one query.
  fileprivate var newestOrders: Coalescer<FirstPage, (joined: [UInt8], next: OrderQueries.Cursor?)> {
    get throws {
      let byKey = try byKey
      return coalescer("newest orders") {
        Coalescer(limit: 32) { pages in
          let found = try await OrderQueries(byKey).newest(of: pages.map { ($0.customerID, $0.limit) })
          return Dictionary(uniqueKeysWithValues: zip(pages, found))
        }
      }
    }
  }
}
