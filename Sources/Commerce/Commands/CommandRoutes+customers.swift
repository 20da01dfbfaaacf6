internal import CommandKit
internal import Commerce
internal import CommerceAPI
internal import CommerceStore
internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Logging
internal import Postgres
internal import PostgresEventStore

extension CommandRoutes {
  func addCustomers(to router: some RouterMethods<ServiceContext>) {
    router.post("/v1/customers") { request, context in
      let (json, bytes) = try await commands.body(of: request)
      let body = try RegisterCustomerRequest(json)
      // Checks the headers before a key is made, so that a request with a wrong header creates no key.
      try commands.checkHeaders(of: request, by: context.caller)
      func register(_ id: String) async throws -> Response {
        let key = try await commands.reachingStore { try await keys.key(of: id) }
        // If the key was erased, the command is rejected. But a repeated request still gets its stored response.
        let sealed = try key?.seal(body.personal.encoded, of: id) ?? ""
        let customer = CustomerRegistered(customerID: id, sealed: sealed, country: body.country)
        return try await commands.create(
          RegisterCustomer(customer), "/v1/customers", id, request, bytes, by: context.caller, in: key?.historyID)
      }
      guard let id = body.customerID else { return try await registeringSomebodyNew(context.logger, register) }
      return try await register(id)
    }
    router.patch("/v1/customers/{id}") { request, context in
      let (json, bytes) = try await commands.body(of: request)
      let body = try ChangeCustomerRequest(json)
      let id = try customerID(context)
      return try await commands.again {
        var (sealed, historyID): (String?, UUID?)
        if let personal = body.personal {
          let key = try await commands.reachingStore { try await keys.keys(of: [id])[id] }
          sealed = try key?.seal(personal.encoded, of: id) ?? ""
          historyID = key?.historyID
        }
        let change = CustomerChanged(customerID: id, sealed: sealed, country: body.country)
        return try await commands.change(
          ChangeCustomer(change), id, request, bytes, by: context.caller, in: historyID)
      }
    }
    router.delete("/v1/customers/{id}/personal-data") { request, context in
      try context.use(.personalDataErase)
      let (json, bytes) = try await commands.body(of: request, isOptional: true)
      let body = try ReasonRequest(json)
      let id = try customerID(context)
      return try await commands.again {
        let customer: Customer = try await commands.state(of: id)
        let erased =
          customer.erased
          ?? PersonalDataErased(
            customerID: id, events: customer.sealedEvents, erasedAt: .now, reason: body.reason)
        return try await commands.change(ErasePersonalData(erased), id, request, bytes, by: context.caller) { json in
          json.member("erasedAt", erased.erasedAt.description)
          json.member("events", erased.events)
        }
      }
    }
  }

  /// Registers a customer under a new id. The personal key must exist before the event. If nothing was stored under the
  /// id, nobody needs the key any more, and it is discarded. A crash can leave an unused key, but never an event
  /// without a key.
  private func registeringSomebodyNew(
    _ logger: Logger, _ register: (String) async throws -> Response
  ) async throws -> Response {
    let id = UUID.v7().uuidString.lowercased()
    do {
      let response = try await register(id)
      // A repeated request gets the first response, which has another id.
      if response.headers[.location]?.hasSuffix(id) != true { await discardKey(of: id, logger) }
      return response
    } catch let problem as Problem {
      if problem.name != "outcome-unknown" { await discardKey(of: id, logger) }
      throw problem
    }
  }

  private func discardKey(of id: String, _ logger: Logger) async {
    do { try await keys.discard(of: id, events: "\(Customer.stream(id))") } catch {
      logger.warning("an unused personal key was not deleted", metadata: ["person": "\(id)", "error": "\(error)"])
    }
  }

  private func customerID(_ context: ServiceContext) throws -> String {
    let id = try context.pathParameter("id")
    guard Identifier.problem(id) == nil else { throw Rejection.customerNotFound(id) }
    return id
  }
}
