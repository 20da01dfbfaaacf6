/// Gives each parameter one name per place in a path, because the router allows only one: an application may have both
/// `/v1/accounts/{id}` and `/v1/accounts/{from}/transfers`.
struct RouterPaths {
  /// The names, by the path before the parameter.
  private var names: [String: String] = [:]

  /// - Returns: The path for the router, and the router's name for each of the path's parameters.
  mutating func add(_ path: String) -> (path: String, names: [String: String]) {
    var (before, routed, own) = ("", "", [String: String]())
    for segment in path.split(separator: "/") {
      guard segment.hasPrefix("{"), segment.hasSuffix("}") else {
        before += "/\(segment)"
        routed += "/\(segment)"
        continue
      }
      let name = String(segment.dropFirst().dropLast())
      var known = names[before] ?? name
      // The name must differ from those of the path's other parameters.
      while own.values.contains(known) { known += "_" }
      names[before] = known
      own[name] = known
      before += "/{}"
      routed += "/{\(known)}"
    }
    return (routed, own)
  }
}
