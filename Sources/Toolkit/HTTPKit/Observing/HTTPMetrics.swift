internal import HTTPTypes
internal import Machine
internal import Metrics
internal import Synchronization

/// Counts and times requests by method, route and status.
final class HTTPMetrics: Sendable {
  private struct Key: Hashable {
    let method: String
    let route: String
    let status: Int
  }

  private let counters = Mutex<[Key: (count: Counter, time: Metrics.Timer)]>([:])

  /// - Parameter route: the router's pattern; nil if none matched. Never the path, since the number of paths is
  ///   unlimited.
  func record(
    _ method: HTTPRequest.Method, _ route: String?, _ status: HTTPResponse.Status, since start: ContinuousClock.Instant
  ) {
    // For an unknown path the router returns a word that is not a path.
    let route = route?.first == "/" ? route : nil
    let key = Key(method: route == nil ? "any" : method.rawValue, route: route ?? "none", status: status.code)
    let (count, time) = counters.withLock { counters in
      if let known = counters[key] { return known }
      let place = [("method", key.method), ("route", key.route)]
      let made = (
        Counter(label: "http_requests_total", dimensions: place + [("status", "\(key.status)")]),
        Metrics.Timer(label: "http_request_seconds", dimensions: place)
      )
      counters[key] = made
      return made
    }
    count.increment()
    time.record(duration: Machine.now - start)
  }
}
