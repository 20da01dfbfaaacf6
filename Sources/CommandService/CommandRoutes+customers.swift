import CommandProcessing
import Commerce
import CommerceAPI
import EventSourcing
import Failures
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import PersonalKeys
import Postgres
import ServiceKit

extension CommandRoutes {
  func addCustomers(to router: some RouterMethods<ServiceContext>) {
    router.post("/v1/customers") { request, context in
      let (json, bytes) = try await body(of: request)
      let body = try RegisterCustomerRequest(json)
      let id = body.customerID ?? UUID.v7().uuidString.lowercased()
      let sealed = try await reachingStore { try await keys.key(of: id)?.seal(body.personal.encoded, of: id) }
      // Refused where the key was erased; but who repeats a request with its key gets its answer first.
      let customer = CustomerRegistered(customerID: id, sealed: sealed ?? "", country: body.country)
      return try await create(RegisterCustomer(customer), "/v1/customers", id, request, bytes, by: context.caller)
    }
    router.patch("/v1/customers/{id}") { request, context in
      let (json, bytes) = try await body(of: request)
      let body = try ChangeCustomerRequest(json)
      let id = try customerID(context)
      return try await again {
        var sealed: String?
        if let personal = body.personal {
          sealed = try await reachingStore { try await keys.keys(of: [id])[id]?.seal(personal.encoded, of: id) } ?? ""
        }
        let change = CustomerChanged(customerID: id, sealed: sealed, country: body.country)
        return try await self.change(ChangeCustomer(change), id, request, bytes, by: context.caller)
      }
    }
    router.delete("/v1/customers/{id}/personal-data") { request, context in
      try admit()
      let bytes = try await request.jsonBytes(isOptional: true)
      let body = try ReasonRequest(bytes.isEmpty ? [:] : JSON(requestBody: bytes))
      let id = try customerID(context)
      return try await again {
        let customer = try await customer(id)
        let erased =
          customer.erased
          ?? PersonalDataErased(
            customerID: id, events: customer.sealedEvents, erasedAt: .now, reason: body.reason)
        return try await change(ErasePersonalData(erased), id, request, bytes, by: context.caller) { json in
          json.member("erasedAt", erased.erasedAt.description)
          json.member("events", erased.events)
          // In each generation of the one read table that has any.
          json.member("rows", 1)
        }
      }
    }
  }

  private func reachingStore<Answer>(_ body: () async throws -> Answer) async throws -> Answer {
    do { return try await body() } catch {
      switch FailureKind(error) {
      case .retry: throw CommandError.unavailable("\(error)")
      case .historyChanged: throw CommandError.historyChanged("\(error)")
      case .refused, .programmingError: throw error
      }
    }
  }

  private func customerID(_ context: ServiceContext) throws -> String {
    let id = try context.pathParameter("id")
    guard Identifier.problem(id) == nil else { throw CommerceRejection.customerNotFound(id) }
    return id
  }

  private func customer(_ id: String) async throws -> Customer {
    var (customer, version) = (Customer(), Version.none)
    while true {
      let events = try await read(Customer.stream(id), after: version, limit: 500)
      for event in events {
        do throws(EventDecodingError) { customer.apply(try CustomerEvent(event)) } catch {
          throw CommandError.unreadable(error)
        }
      }
      guard events.count == 500, let last = events.last else { return customer }
      version = last.version
    }
  }
}
