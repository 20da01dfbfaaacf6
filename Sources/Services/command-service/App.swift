import ServiceKit

@main
struct App {
  static func main() async { await Role.commerceCommands.main() }
}
