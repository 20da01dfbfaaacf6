public import ServiceKit

extension Scope {
  /// Prices and times other than the store's own.
  public static let ordersOverride = Scope("orders:override")
  /// Erasing a person, which nothing undoes.
  public static let personalDataErase = Scope("personal-data:erase")
  /// All that the commerce back end knows.
  public static let commerce = [commandsWrite, queriesRead, ordersOverride, personalDataErase, admin]
}
