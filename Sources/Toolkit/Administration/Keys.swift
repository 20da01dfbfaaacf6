internal import ArgumentParser
internal import PostgresEventStore
internal import ServiceKit
internal import SettingsKit

/// Shows which keys wrap the keys of persons, and wraps them again.
struct Keys: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Counts the keys of persons by the key that wraps them, and wraps them again.",
    discussion: """
      The keys of persons in the write store are wrapped by the first key of PERSONAL_KEY, or of what \
      PERSONAL_KEY_COMMAND prints. --rewrap wraps all others with it, too, while services run. You may stop and repeat it.

      The exit status is 1 if a key of a person is not wrapped by the first key.
      """)

  @Flag(help: "Wraps every key of a person with the first key of PERSONAL_KEY.") var rewrap = false

  func run() async throws {
    try await reportingSettings {
      let settings = Settings()
      let keys = try PersonalKeySettings.read(settings)
      let custody = PersonalKeyCustody(try Stores(settings).writeStore)
      if rewrap {
        for count in try await custody.counts() where !keys.knows(count.id) {
          throw ValidationError(
            "\(count.keys) keys of persons are wrapped by \(count.id ?? ""), which PERSONAL_KEY does not have: add it")
        }
        print("\(try await custody.rewrap(keys)) keys of persons were wrapped again")
      }
      let counts = try await custody.counts()
      var table = Table("wrapped by", "keys", "")
      for count in counts {
        let note = count.id == keys.wrappingID ? "" : keys.knows(count.id) ? "to be wrapped again" : "unknown here"
        table.add(count.id ?? "nothing", "\(count.keys)", note)
      }
      print(table.isEmpty ? "There are no keys of persons." : table.text)
      if counts.contains(where: { $0.id != keys.wrappingID }) { throw ExitCode(1) }
    }
  }
}
