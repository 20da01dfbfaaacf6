import ArgumentParser
import Foundation

/// Writes a new package for a user's domain: the template `New`, under another name.
struct NewPackage: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "new",
    abstract:
      "Creates a package with a first domain: an aggregate, a read model, tests, a Dockerfile and compose.yaml.",
    discussion: """
      The package depends on Counterflow by a path: both folders must be in the same folder. Its README says how to test and run it.
      """)

  @Argument(help: "The name: a lower-case letter, then lower-case letters, digits and _, at most 40 characters.")
  var name: String
  @Option(name: .customLong("in"), help: "The folder in which the package is created.", completion: .directory)
  var parent = "."
  @Option(help: "The name of the folder beside the package that holds Counterflow.") var counterflow = "counterflow"

  func validate() throws {
    guard name.wholeMatch(of: /[a-z][a-z0-9_]{0,39}/) != nil else {
      throw ValidationError(
        "'\(name)' cannot be a name: a lower-case letter, then lower-case letters, digits and _, 40 at most")
    }
    // A module cannot have the name of a keyword, or of the package that it depends on.
    guard !Self.taken.contains(name), name != counterflow else {
      throw ValidationError("'\(name)' is taken; choose another name")
    }
    let manifest = folder.appendingPathComponent("\(counterflow)/Package.swift")
    guard let text = try? String(contentsOf: manifest, encoding: .utf8), text.contains(#"name: "counterflow""#) else {
      throw ValidationError(
        "\(manifest.path) is not Counterflow's; run this in the folder that holds Counterflow, or name that with --in and --counterflow"
      )
    }
    guard !FileManager.default.fileExists(atPath: target.path) else {
      throw ValidationError("\(target.path) already exists; choose another name")
    }
  }

  func run() throws {
    for (path, content) in Self.files {
      let file = target.appendingPathComponent(path.replacing("notebook", with: name))
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text(content).utf8).write(to: file)
    }
    print("Created \(target.path). Its README.md says how to test and run it.")
  }

  private var folder: URL { URL(fileURLWithPath: parent, isDirectory: true).standardizedFileURL }
  private var target: URL { folder.appendingPathComponent(name) }

  private func text(_ template: [UInt8]) -> String {
    String(decoding: template, as: UTF8.self).replacing("notebook", with: name)
      .replacing("COUNTERFLOW", with: counterflow)
  }

  private static let files: [(path: String, content: [UInt8])] = [
    ("Package.swift", PackageResources.Package_swift_txt), ("README.md", PackageResources.README_md),
    ("Sources/notebook.swift", PackageResources.notebook_swift),
    ("Tests/NoteTests.swift", PackageResources.NoteTests_swift), ("Dockerfile", PackageResources.Dockerfile),
    ("Dockerfile.dockerignore", PackageResources.Dockerfile_dockerignore),
    ("compose.yaml", PackageResources.compose_yaml), (".gitignore", PackageResources.gitignore),
  ]

  private static let taken: Set = [
    "as", "break", "case", "catch", "class", "continue", "default", "defer", "deinit", "do", "else", "enum",
    "extension", "fallthrough", "false", "fileprivate", "for", "func", "guard", "if", "import", "in", "init",
    "inout", "internal", "is", "let", "nil", "operator", "private", "protocol", "public", "repeat", "return",
    "self", "static", "struct", "subscript", "super", "swift", "switch", "throw", "throws", "true", "try",
    "typealias", "var", "where", "while",
  ]
}
