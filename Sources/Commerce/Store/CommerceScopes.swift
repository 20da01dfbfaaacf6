public import HTTPKit

extension Scope {
  /// Lets a caller set prices and times instead of the store's.
  public static let ordersOverride = Scope("orders:override")
  /// Lets a caller erase personal data, which cannot be undone.
  public static let personalDataErase = Scope("personal-data:erase")
  /// Lets a caller see names and e-mail addresses, and search by them.
  public static let personalDataRead = Scope("personal-data:read")
  /// All scopes of the commerce back end.
  public static let commerce = [
    commandsWrite, queriesRead, ordersOverride, personalDataRead, personalDataErase, admin,
  ]
}
