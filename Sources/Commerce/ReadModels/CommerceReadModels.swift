public import PostgresEventStore
public import Projections

/// Every read model.
/// - Parameter keys: for personal data; nil where nothing is projected, and only names and tables are asked for.
public func commerceReadModels(_ keys: PersonalKeys? = nil) -> [Projection] {
  [
    Projection(Orders()), Projection(Catalogue()), Projection(Customers(keys: keys)), Projection(Returns()),
    Projection(Sales()),
  ]
}
