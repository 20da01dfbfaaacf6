import CommerceQueries
import ServiceKit

/// Answers the queries of the commerce back end, and shows the console.
@main
struct App {
  static func main() async { await Role.commerceQueries.main() }
}
