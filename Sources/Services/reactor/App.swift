import CommerceProcesses
import ServiceKit

/// Runs the reactions of the commerce back end.
@main
struct App {
  static func main() async { await Role.commerceReactor.main() }
}
