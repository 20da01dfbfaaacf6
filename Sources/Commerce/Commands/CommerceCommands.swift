internal import CommandKit
internal import CommerceAPI
internal import CommerceStore
internal import HTTPKit
internal import Hummingbird
public import ServiceKit
internal import SettingsKit

extension Role {
  /// Takes the commands of the commerce back end.
  public static let commerceCommands = Role.commandService(
    settings: [StoreCurrency.setting.description],
    begin: { pool, settings, logger in
      let currency = CurrencyCheck(try settings[StoreCurrency.setting], pool, logger: logger)
      var needed = CommandPrerequisites()
      needed.schemas = [commerceStoreSchema]
      needed.services = [currency]
      needed.healthChecks = [currency.healthCheck]
      needed.mayBegin = { try currency.requireConfirmed() }
      return needed
    },
    { service, settings, parts in
      let routes = CommandRoutes(
        commands: service.commands, keys: service.keys, currency: try settings[StoreCurrency.setting])
      parts.addRoutes { router in
        router.addDocument("/openapi.yaml", "application/yaml", CommerceRoutes.openAPI)
        routes.add(to: router.group().add(middleware: service.admission))
      }
      parts.elsewhere = CommerceRoutes.queries
    })
}
