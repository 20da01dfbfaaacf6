import Foundation
import TestSupport
import Testing

@Suite("Simulation", .tags(.system))
struct SimulationTests {
  /// - Returns: what it printed, without the time that it took.
  private func simulate(_ arguments: String...) async throws -> String {
    let process = try ChildProcess(TestEnvironment.binaries.appendingPathComponent("simulate"), arguments)
    #expect(try await process.wait() == 0, "\(process.output)")
    return process.output.replacing(#/ in \d+ s/#, with: "")
  }

  @Test("A seed gives the same run, line by line, in every process, and another seed another one")
  func sameTrace() async throws {
    let first = try await simulate("--seed", "7", "--minutes", "0.5", "--trace")
    #expect(try await simulate("--seed", "7", "--minutes", "0.5", "--trace") == first)
    #expect(first.split(separator: "\n").count > 100)
    #expect(try await simulate("--seed", "8", "--minutes", "0.5", "--trace") != first)
  }

  @Test("Commands, queries with tokens and followers all take part in a world, and faults do")
  func isBusy() async throws {
    let output = try await simulate("--seed", "3", "--minutes", "1")
    for what in ["commands", "repeated commands", "queries", "queries with a token", "changes", "rejections"] {
      #expect(output.contains(try Regex("\\n +[1-9][0-9]* \(what)\\n")), "\(what): \(output)")
    }
    #expect(try await simulate("--seed", "3", "--minutes", "1", "--faults", "none") != output)
  }

  @Test("An unknown fault is an error that lists those that are known")
  func unknownFault() async throws {
    let process = try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent("simulate"), ["--faults", "earthquake"])
    #expect(try await process.wait() == 64)
    #expect(process.output.contains("no fault is called earthquake: kill, stop, pause"))
  }
}
