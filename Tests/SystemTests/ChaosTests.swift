import Foundation
import TestSupport
import Testing

@Suite("scripts/chaos", .tags(.system), .needsServers)
struct ChaosTests {
  @Test(
    "Under attack, each reaction takes effect exactly once, and each mail is sent; a small run of --reactions",
    .whenThereIsRoom)
  func reactions() async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("chaos"))
    func script(_ name: String, _ arguments: String...) throws -> ChildProcess {
      try ChildProcess(
        TestEnvironment.root.appendingPathComponent("scripts/\(name)"), arguments,
        environment: [
          "COUNTERFLOW_LOCAL": folder.path, "COUNTERFLOW_BINARIES": TestEnvironment.binaries.path,
          "HOME": folder.path,
        ])
    }
    let result: Result<Void, any Error>
    do {
      // The seed is in the output, which is kept if this fails.
      let chaos = try script("chaos", "--reactions", "--orders", "600", "--seconds", "60")
      let status = try await chaos.wait(within: .seconds(1500))
      #expect(status == 0, "\(chaos.output)")
      #expect(chaos.output.contains(/ok +kinds of attacks that happened +9\n/), "\(chaos.output)")
      #expect(chaos.output.hasSuffix("Every reaction took effect exactly once.\n"))
      result = .success(())
    } catch { result = .failure(error) }
    // The script has stopped its system, unless it was killed.
    try await script("down", "--quiet").wait()
    try result.get()
  }
}
