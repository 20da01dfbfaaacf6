import Foundation
import Synchronization
import TestSupport

/// What processes have recorded so far: metrics with a value beside zero, at any look.
final class Recorded: Sendable {
  private let services = Mutex<[RunningService]>([])
  private let names = Mutex<Set<String>>([])
  private let families = Mutex<Set<String>>([])

  func watch(_ service: RunningService) { services.withLock { $0.append(service) } }

  var all: Set<String> { names.withLock { $0 } }
  /// Also those without a value yet.
  var shown: Set<String> { families.withLock { $0 } }

  /// Looks at all of them. One that is gone has what was seen of it before.
  /// - Parameter only: nil for all of them.
  func look(only: RunningService? = nil) async {
    for service in only.map({ [$0] }) ?? services.withLock({ $0 }) {
      guard let text = try? await service.http.send("GET", "/metrics").text else { continue }
      let looked = Families(text)
      families.withLock { $0.formUnion(looked.families.keys) }
      let found = looked.values.filter { $0.value != 0 }.keys.map { series in
        let name = String(series.prefix { $0 != "{" })
        // Of a histogram its count says that something was recorded.
        return name.hasSuffix("_count") ? String(name.dropLast("_count".count)) : name
      }
      names.withLock { $0.formUnion(found) }
    }
  }

  /// Does it again and again until every one of them is recorded.
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
