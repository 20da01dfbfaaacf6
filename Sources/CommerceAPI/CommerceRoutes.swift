/// Every route of the API, and which service answers it. Each service knows the other's too, so that behind
/// one address a wrong method is told from a wrong path.
public enum CommerceRoutes {
  public static let commands: [(method: String, path: String)] = [
    ("POST", "/v1/products"), ("PUT", "/v1/products/{sku}/price"), ("DELETE", "/v1/products/{sku}"),
    ("POST", "/v1/orders"),
    ("POST", "/v1/orders/{id}/cancellation"),
  ]

  public static let queries: [(method: String, path: String)] = [
    ("GET", "/v1/orders/{id}"), ("HEAD", "/v1/orders/{id}"), ("GET", "/v1/customers/{id}/orders"),
    ("HEAD", "/v1/customers/{id}/orders"), ("GET", "/v1/products/{sku}"), ("HEAD", "/v1/products/{sku}"),
  ]
}
