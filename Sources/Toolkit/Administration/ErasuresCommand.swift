internal import ArgumentParser
internal import Foundation
internal import Postgres
internal import PostgresEventStore
internal import SettingsKit

/// The log of erasures of personal data.
struct ErasuresCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "erasures", abstract: "Shows, exports, imports and repeats erasures of personal data.",
    discussion: """
      A projector copies each erasure to a log in the read store, because a backup of the write store from before an \
      erasure has the person's key. 'restore-finished' repeats the erasures that a restore has undone. Keep an export with \
      the backups, for the case that both stores are lost.
      """, subcommands: [Show.self, Export.self, Import.self, Repeat.self], defaultSubcommand: Show.self)

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Counts the erasures in the log, and those that the write store does not have.",
      discussion:
        "The exit status is 1 if the write store has a key of a person who was erased, or has lost the erasure.")

    func run() async throws {
      try await reportingSettings {
        let stores = try Stores()
        let log = ErasureLog(stores.readStore)
        let copied = try await log.copy(from: Erasures(stores.writeStore))
        let undone = try await log.missing(in: Erasures(stores.writeStore))
        print(
          "The log has \(try await log.count()) erasures; \(copied) of them were copied now. "
            + "The write store lacks \(undone.count) of them.")
        if !undone.isEmpty { throw ExitCode(1) }
      }
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Writes the log to a file, one erasure a line, in JSON.",
      discussion:
        "The file has the ids of persons, and the events that erased them. It has no personal data that was sealed.")
    @Argument(help: "The file. It is replaced once everything is written.") var file: String

    func run() async throws {
      try await reportingSettings {
        let stores = try Stores()
        let log = ErasureLog(stores.readStore)
        _ = try await log.copy(from: Erasures(stores.writeStore))
        let (part, manager) = (file + ".part", FileManager.default)
        guard manager.createFile(atPath: part, contents: nil), let handle = FileHandle(forWritingAtPath: part) else {
          throw ValidationError("\(part) cannot be written")
        }
        var (count, last) = (0, "")
        while true {
          let page = try await log.page(after: last)
          guard let end = page.last else { break }
          for erasure in page { try handle.write(contentsOf: Data(erasure.line) + Data("\n".utf8)) }
          (count, last) = (count + page.count, end.person)
        }
        try handle.synchronize()
        try handle.close()
        guard rename(part, file) == 0 else { throw ValidationError("\(file) cannot be replaced") }
        print("\(count) erasures written to \(file)")
      }
    }
  }

  struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Adds the erasures of an exported file to the log.",
      discussion: "It erases nobody: 'repeat' or 'restore-finished' does. You may import a file again.")
    @Argument(help: "The file.") var file: String

    func run() async throws {
      try await reportingSettings {
        guard let text = FileManager.default.contents(atPath: file) else {
          throw ValidationError("\(file) cannot be read")
        }
        let erasures = try text.split(separator: UInt8(ascii: "\n")).enumerated().map { index, line in
          guard let erasure = Erasure(line: Array(line)) else {
            throw ValidationError("line \(index + 1) of \(file) is no erasure; nothing was imported")
          }
          return erasure
        }
        // A person may occur once in a statement.
        let unique = Dictionary(erasures.map { ($0.person, $0) }) { first, _ in first }.values.sorted {
          $0.person < $1.person
        }
        let log = ErasureLog(try Stores().readStore)
        var count = 0
        for start in stride(from: 0, to: unique.count, by: 500) {
          count += try await log.add(Array(unique[start..<min(start + 500, unique.count)]))
        }
        print("\(unique.count) erasures read, \(count) of them new to the log")
      }
    }
  }

  struct Repeat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Erases persons again whom the log names and the write store has not erased.",
      discussion: "Services may run. 'restore-finished' does the same before anything is appended.")

    func run() async throws {
      try await reportingSettings {
        let settings = Settings()
        let stores = try Stores(settings)
        let undone = try await ErasureLog(stores.readStore).missing(in: Erasures(stores.writeStore))
        try await stores.writeStore.withConnection { try await PostgresEventStore.repeatErasures(undone, $0) }
        print("\(undone.count) persons are erased again")
      }
    }
  }
}
