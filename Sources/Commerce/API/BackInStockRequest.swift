internal import Commerce
public import EventSourcing
public import JSON

/// The body of `POST /v1/products/{sku}/notifications`.
public struct BackInStockRequest: Sendable, Hashable {
  public let customerID: String

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let customerID = reader.text("customerId", problem: Identifier.problem)
    let errors = reader.finish()
    guard let customerID, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    self.customerID = customerID
  }
}
