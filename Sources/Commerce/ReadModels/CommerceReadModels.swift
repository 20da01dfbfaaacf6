public import PostgresEventStore
public import Projections

/// Returns all read models of the commerce back end.
/// - Parameter keys: open personal data. nil if the caller needs only names and tables, and projects nothing.
public func commerceReadModels(_ keys: PersonalKeys? = nil) -> [Projection] {
  [
    Projection(Orders()), Projection(Catalogue()), Projection(Customers(keys: keys)), Projection(Returns()),
    Projection(Sales()),
  ]
}
