import CommerceReactions
import ProjectorKit
import ServiceKit

@main
struct App {
  static func main() async { await Role.commerceReactor.main() }
}

extension Role {
  static let commerceReactor = Role.reactor(settings: CommerceReactions.settings, CommerceReactions.all)
}
