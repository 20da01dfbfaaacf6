import Foundation
import Synchronization
import TestSupport

/// The metrics that processes have recorded so far: those that had a value other than zero at any look.
final class Recorded: Sendable {
  private let services = Mutex<[RunningService]>([])
  private let names = Mutex<Set<String>>([])
  private let families = Mutex<Set<String>>([])

  func watch(_ service: RunningService) { services.withLock { $0.append(service) } }

  var all: Set<String> { names.withLock { $0 } }
  /// All metrics, also those without a value yet.
  var shown: Set<String> { families.withLock { $0 } }

  /// Reads the metrics of the services. A service that is gone keeps its earlier ones.
  /// - Parameter only: The service to read; nil for all.
  func look(only: RunningService? = nil) async {
    for service in only.map({ [$0] }) ?? services.withLock({ $0 }) {
      guard let text = try? await service.http.send("GET", "/metrics").text else { continue }
      let looked = Families(text)
      families.withLock { $0.formUnion(looked.families.keys) }
      let found = looked.values.filter { $0.value != 0 }.keys.map { series in
        let name = String(series.prefix { $0 != "{" })
        // A histogram with a count has recorded something.
        return name.hasSuffix("_count") ? String(name.dropLast("_count".count)) : name
      }
      names.withLock { $0.formUnion(found) }
    }
  }

  /// Repeats `provoke` until all wanted metrics are recorded.
  func eventually(_ wanted: [String], _ provoke: () async throws -> Void = {}) async throws {
    let wanted = Set(wanted.map { "counterflow_" + $0 })
    do {
      try await TestSupport.eventually("all are recorded", within: .seconds(240)) {
        try await provoke()
        await look()
        return wanted.isSubset(of: all)
      }
    } catch let never as NeverHappened {
      throw NeverHappened(description: "\(never.description); missing: \(wanted.subtracting(all).sorted())")
    }
  }
}
