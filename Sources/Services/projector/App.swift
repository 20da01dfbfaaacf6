import CommerceReadModels
import ProjectorKit
import ServiceKit

@main
struct App {
  static func main() async { await Role.commerceProjector.main() }
}

extension Role {
  static let commerceProjector = Role.projector(commerceReadModels)
}
