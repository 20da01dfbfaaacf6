import Foundation
import JSON
import TestSupport
import Testing

/// The shell commands of a page of docs/guide, with the answers that the page shows.
struct GuidePage {
  struct Step {
    let commands: String
    /// What the page shows below the commands; nil for nothing.
    var answer: Answer?
  }

  enum Answer {
    case json(JSON)
    /// Lines that are among those of the output.
    case lines([String])
  }

  let steps: [Step]

  /// - Parameter name: The page's file without `.md`. Blocks that build or start something are left out: the test has
  ///   started the program.
  init(_ name: String) throws {
    let page = TestEnvironment.root.appendingPathComponent("docs/guide/\(name).md")
    var steps: [Step] = []
    for block in try String(contentsOf: page, encoding: .utf8).matches(of: /```(\w+)\n((?s).*?)\n```/) {
      let text = String(block.output.2)
      switch block.output.1 {
      case "sh": steps.append(Step(commands: text))
      case "json": steps[try #require(steps.indices.last)].answer = .json(try JSON(parsing: Array(text.utf8)))
      case "text": steps[try #require(steps.indices.last)].answer = .lines(text.split(separator: "\n").map(Self.normal))
      default: break
      }
    }
    self.steps = steps
  }

  /// The steps up to and including the first one with these words, and the others.
  func split(after words: String) throws -> (ArraySlice<Step>, ArraySlice<Step>) {
    let index = try #require(steps.firstIndex { $0.commands.contains(words) }) + 1
    return (steps[..<index], steps[index...])
  }

  /// In a table, numbers, times and the width of columns differ.
  fileprivate static func normal(_ line: some StringProtocol) -> String {
    let line = String(line)
    guard line.contains("  ") else { return line }
    return line.replacing(/\d+(\.\d+)?/, with: "0").replacing(#/ +/#, with: " ")
  }
}

/// Runs the commands of pages as their reader does, in one folder and with the same variables.
struct GuideReader {
  private let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("reader"))
  private let environment: [String: String]
  /// The address that a page names, and the one that it stands for.
  private let addresses: [(named: String, real: String)]

  /// - Parameters:
  ///   - program: The example that is called `bank` on the page.
  ///   - settings: Environment variables.
  init(_ program: String, _ addresses: [(named: String, real: String)], settings: [String: String]) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      at: folder.appendingPathComponent("bank"),
      withDestinationURL: TestEnvironment.binaries.appendingPathComponent(program))
    environment = settings.merging(["PATH": "\(folder.path):/usr/bin:/bin"]) { $1 }
    self.addresses = addresses
  }

  func run(_ steps: some Sequence<GuidePage.Step>) async throws {
    for step in steps {
      var output = try await run(step.commands)
      guard let answer = step.answer else { continue }
      // A query may be asked again until it has what the page shows; a command is sent once.
      if !step.commands.contains(#/ -X | -d |^TOKEN=|^kill/#) {
        // If that never happens, the expectation says what there is instead.
        try? await eventually("\(step.commands) answers as the page says") {
          if !Self.shows(output, answer) { output = try await run(step.commands) }
          return Self.shows(output, answer)
        }
      }
      #expect(Self.shows(output, answer), "\(step.commands): \(output)")
    }
  }

  private func run(_ commands: String) async throws -> String {
    let own = addresses.reduce(commands) { $0.replacing($1.named, with: $1.real) }
    let variables = folder.appendingPathComponent("variables").path
    let shell = try ChildProcess(
      URL(fileURLWithPath: "/bin/bash"),
      ["-c", "set -a\n[[ ! -e \(variables) ]] || . \(variables)\n\(own)\nexport -p >\(variables)"],
      environment: environment)
    try await shell.wait()
    return shell.output
  }

  private static func shows(_ output: String, _ answer: GuidePage.Answer) -> Bool {
    switch answer {
    case .json(let shown): (try? JSON(parsing: Array(output.utf8))).map { isAlike($0, shown) } ?? false
    case .lines(let shown):
      Set(shown).isSubset(of: output.split(separator: "\n").map(GuidePage.normal))
    }
  }

  private static let varying: Set = ["position", "at", "month", "nextCursor"]

  /// Whether an answer is the page's, except for the values of some members.
  private static func isAlike(_ found: JSON, _ shown: JSON) -> Bool {
    switch (found, shown) {
    case (.object(let found), .object(let shown)):
      found.map(\.name) == shown.map(\.name)
        && zip(found, shown).allSatisfy {
          Self.varying.contains($0.name) ? $0.value.kind == $1.value.kind : isAlike($0.value, $1.value)
        }
    case (.array(let found), .array(let shown)):
      found.count == shown.count && zip(found, shown).allSatisfy { isAlike($0, $1) }
    default: found == shown
    }
  }
}
