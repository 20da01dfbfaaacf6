import CommerceCommands
import ServiceKit

/// Takes the commands of the commerce back end.
@main
struct App {
  static func main() async { await Role.commerceCommands.main() }
}
