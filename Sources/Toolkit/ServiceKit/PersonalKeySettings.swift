package import Logging
package import PostgresEventStore
package import SettingsKit

/// The settings of the keys that wrap the keys of persons.
package enum PersonalKeySettings {
  /// How long `PERSONAL_KEY_COMMAND` may take.
  private static let patience = Duration.seconds(10)

  /// `PERSONAL_KEY`: the keys that wrap the keys of persons.
  package static let keys = Setting(
    "PERSONAL_KEY", default: "none", allowed: "none, or ID:BASE64-OF-32-BYTES for each key, with white space between",
    help: "The keys that wrap the keys of persons in the write store. The first one wraps, the others only unwrap.",
    isSecret: true
  ) { text -> KeyEncryptionKeys? in
    try text == "none" ? KeyEncryptionKeys.none : KeyEncryptionKeys(text)
  }

  /// `PERSONAL_KEY_COMMAND`: a program that prints the keys.
  package static let command = Setting.optional(
    "PERSONAL_KEY_COMMAND", allowed: "none, or the absolute path of a program and its arguments",
    help:
      "A program that prints the value of PERSONAL_KEY, instead of it. It runs once, without a shell, for 10 s at most."
  )

  /// Both settings.
  package static let all = [keys.description, command.description]

  /// Reads the keys. Blocks the thread for 10 seconds at most if a program prints them.
  /// - Throws: `SettingError` if they are invalid, or the program fails.
  package static func read(_ settings: Settings) throws(SettingError) -> KeyEncryptionKeys {
    let given = try settings[keys]
    guard let program = try settings[command] else { return given }
    guard given.isEmpty else { throw SettingError(command, "is set beside PERSONAL_KEY: set one of them") }
    let text: String
    do throws(ProgramOutput.Failure) { text = try ProgramOutput.run(program, within: patience) } catch {
      throw SettingError(command, "failed: \(error)")
    }
    do throws(KeyEncryptionKeys.Unusable) { return try KeyEncryptionKeys(text) } catch {
      throw SettingError(command, "printed no keys of the form of PERSONAL_KEY: \(error)")
    }
  }

  /// Reads the keys when a service starts, and logs how the keys of persons are stored.
  package static func read(_ settings: Settings, _ logger: Logger) throws(SettingError) -> KeyEncryptionKeys {
    let keys = try read(settings)
    if let id = keys.wrappingID {
      logger.info("the keys of persons are wrapped", metadata: ["by": "\(id)"])
    } else {
      logger.notice(
        "the keys of persons are stored as they are, and whoever reads the write store or a backup of it can use them; PERSONAL_KEY wraps them"
      )
    }
    return keys
  }
}
