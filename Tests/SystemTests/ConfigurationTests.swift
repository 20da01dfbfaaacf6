import CommerceProcesses
import Foundation
import HTTPKit
import RabbitMQFeed
import ServiceKit
import SettingsKit
import TestSupport
import Testing

@testable import CommerceCommands
@testable import CommerceQueries

@Suite("Settings")
struct ConfigurationTests {
  private static let integer = Setting.integer("SOME_NUMBER", default: 7, in: 1...9, help: "")
  private static let url = Setting.postgresURL("SOME_URL", help: "")

  @Test("A setting has a default, is parsed, and an invalid value is reported with what is allowed")
  func values() throws {
    #expect(try Settings([:])[Self.integer] == 7)
    #expect(try Settings(["SOME_NUMBER": ""])[Self.integer] == 7)
    #expect(try Settings(["SOME_NUMBER": "9"])[Self.integer] == 9)
    for wrong in ["0", "10", "x", "1.5", " 1"] {
      #expect {
        _ = try Settings(["SOME_NUMBER": wrong])[Self.integer]
      } throws: { "\($0)" == "SOME_NUMBER is '\(wrong)'; allowed: a whole number from 1 to 9" }
    }
    #expect { _ = try Settings([:])[Self.url] } throws: { "\($0)".hasPrefix("SOME_URL is not set") }
    #expect { _ = try Settings(["SOME_URL": "secret"])[Self.url] } throws: { !"\($0)".contains("secret") }
  }

  @Test("A secret can be read from a file")
  func file() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data("postgres://from-file\n".utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    #expect(try Settings(["SOME_URL_FILE": file.path])[Self.url] == "postgres://from-file")
    #expect(
      try Settings(["SOME_URL_FILE": "/missing", "SOME_URL": "postgres://given"])[Self.url] == "postgres://given")
    #expect { _ = try Settings(["SOME_URL_FILE": "/missing"])[Self.url] } throws: { "\($0)".contains("/missing") }
  }

  @Test("docs/configuration.md lists exactly the settings, with their defaults and allowed values")
  func documented() throws {
    let text = try String(
      contentsOf: TestEnvironment.root.appendingPathComponent("docs/configuration.md"), encoding: .utf8)
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `") }
    let roles: [Role] = [.commerceCommands, .relay, .commerceProjector, .commerceQueries, .commerceReactor]
    let settings = Set(roles.flatMap(\.settings))
    for setting in settings {
      let row = "| `\(setting.name)` | \(setting.defaultText.map { "`\($0)`" } ?? "required") | \(setting.allowed) |"
      #expect(rows.contains { $0.hasPrefix(row) }, "\(row) \(setting.help) |")
    }
    let names = Set(settings.map(\.name))
    for row in rows {
      let name = row.dropFirst(3).prefix { $0 != "`" }
      #expect(names.contains(String(name)), "\(name) is documented and not a setting")
    }
  }
}
