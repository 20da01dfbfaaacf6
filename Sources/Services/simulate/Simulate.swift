internal import ArgumentParser
internal import Foundation
internal import Simulation

/// Runs the whole system on simulated machines, with faults that a seed chooses.
@main
struct Simulate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Runs the whole system on simulated machines, with faults that a seed chooses, and says what was wrong.",
    discussion: "A seed gives the same run each time. docs/simulation.md describes the worlds and what is checked.")

  @Option(help: "The seed of the first world.")
  var seed: UInt64 = 1
  @Option(help: "How many worlds, each with the next seed.")
  var seeds: UInt64 = 1
  @Option(help: "How many simulated minutes clients and faults go on in each world.")
  var minutes = 3.0
  @Option(help: "What may go wrong, with commas between; all of it if it is left out, none for 'none'.")
  var faults: String?
  @Flag(help: "End with the first world that has a violation.")
  var untilViolation = false
  @Flag(help: "Print what happens.")
  var trace = false

  mutating func run() throws {
    try Self.makeHashingDeterministic()
    let kinds = try faults.map(Self.kinds) ?? FaultKind.allCases
    let clock = ContinuousClock()
    let start = clock.now
    var (failed, events, time, steps, worlds): ([UInt64], Int, Duration, Int, Int) = ([], 0, .zero, 0, 0)
    for seed in seed..<(seed + seeds) where failed.isEmpty || !untilViolation {
      worlds += 1
      let result = Simulation.run(Plan(seed: seed, minutes: minutes, kinds: kinds), printing: trace)
      events += result.events
      time += result.time
      steps += result.steps
      let text =
        "seed \(seed): \(result.events) events, \(result.traceLines) lines, trace \(String(result.traceHash, radix: 16))"
      if seeds == 1 {
        print(text)
        for (what, count) in result.counts.sorted(by: { $0.key < $1.key }) { print("  \(count) \(what)") }
      }
      guard !result.violations.isEmpty else { continue }
      failed.append(seed)
      if seeds > 1 { print(text) }
      for violation in result.violations.prefix(10) { print("  VIOLATION: \(violation)") }
    }
    let passed = start.duration(to: clock.now)
    print(
      "\(worlds) worlds, \(failed.count) with violations; \(events) events, \(steps) steps, "
        + "\(Int(time / .seconds(60))) simulated minutes in \(Int(passed / .seconds(1))) s")
    if !failed.isEmpty { throw ExitCode(1) }
  }

  private static func kinds(_ text: String) throws -> [FaultKind] {
    guard text != "none" else { return [] }
    return try text.split(separator: ",").map { name in
      guard let kind = FaultKind(rawValue: String(name)) else {
        throw ValidationError(
          "no fault is called \(name): \(FaultKind.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      return kind
    }
  }

  /// Sets and dictionaries have another order in each process, unless this is set when it starts.
  private static func makeHashingDeterministic() throws {
    guard getenv("SWIFT_DETERMINISTIC_HASHING") == nil else { return }
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
    var arguments = CommandLine.arguments.map { strdup($0) as UnsafeMutablePointer<CChar>? } + [nil]
    execv("/proc/self/exe", &arguments)
    throw ValidationError("cannot start again: \(String(cString: strerror(errno)))")
  }
}
