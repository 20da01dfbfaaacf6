/// Gives a parameter one name at one place, since the router has no two there: `/v1/accounts/{id}` and
/// `/v1/accounts/{from}/transfers` are both allowed here.
struct RouterPaths {
  /// By what stands before the parameter.
  private var names: [String: String] = [:]

  /// - Returns: the path as the router gets it, and by which name each of the path's own is known there.
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
      // Not that of another parameter of the same path.
      while own.values.contains(known) { known += "_" }
      names[before] = known
      own[name] = known
      before += "/{}"
      routed += "/{\(known)}"
    }
    return (routed, own)
  }
}
