/// Every route of the API, by service. Each service also knows the other's routes. So when both share one address, it
/// can tell a wrong method (405) from a wrong path (404).
public enum CommerceRoutes {
  public static let commands: [(method: String, path: String)] = [
    ("POST", "/v1/products"), ("PATCH", "/v1/products/{sku}"), ("PUT", "/v1/products/{sku}/price"),
    ("DELETE", "/v1/products/{sku}"), ("POST", "/v1/products/{sku}/reinstatement"),
    ("POST", "/v1/products/{sku}/stock/receipts"), ("POST", "/v1/products/{sku}/stock/adjustments"),
    ("POST", "/v1/products/{sku}/notifications"), ("POST", "/v1/orders"), ("POST", "/v1/orders/{id}/payment"),
    ("POST", "/v1/orders/{id}/shipment"),
    ("POST", "/v1/orders/{id}/delivery"), ("POST", "/v1/orders/{id}/cancellation"), ("POST", "/v1/returns"),
    ("POST", "/v1/customers"), ("PATCH", "/v1/customers/{id}"), ("DELETE", "/v1/customers/{id}/personal-data"),
  ]

  public static let queries: [(method: String, path: String)] = [
    "/v1/orders", "/v1/orders/{id}", "/v1/customers", "/v1/customers/{id}", "/v1/customers/{id}/orders", "/v1/products",
    "/v1/products/{sku}",
    "/v1/changes", "/v1/orders/{id}/changes", "/v1/orders/{id}/history", "/v1/customers/{id}/history",
    "/v1/products/{sku}/history",
    "/v1/returns/{id}", "/v1/sales", "/v1/sales/products", "/v1/sales/countries", "/v1/sales/customers",
  ].flatMap { [("GET", $0), ("HEAD", $0)] }

  /// Routes that every service has.
  public static let operations = ["/healthz", "/readyz", "/openapi.yaml"]

  /// The whole API as OpenAPI 3.1 in YAML. Both services serve it.
  public static var openAPI: [UInt8] { PackageResources.openapi_yaml }
}
