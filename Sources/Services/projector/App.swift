import CommerceProcesses
import ServiceKit

/// Keeps the read models of the commerce back end up to date.
@main
struct App {
  static func main() async { await Role.commerceProjector.main() }
}
