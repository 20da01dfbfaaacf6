internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import JSON
internal import Machine
internal import PostgresEventStore
internal import Projections
internal import Reactions

/// Lists, retries and discards streams that are parked in a projection.
struct Parked: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists, shows, retries and discards parked streams.",
    discussion: """
      An event of the stream failed. The stream's later events wait in the store; all other streams continue. Repair the \
      cause, then retry: the stream continues in order. discard skips the event that failed, and records that. A call \
      of an effect is attempted several times automatically: the column "next" says when.
      """, subcommands: [List.self, Show.self, Retry.self, Discard.self], defaultSubcommand: List.self)

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists the parked streams.")
    @Argument(help: "Only streams of this projection.") var projection: String?
    @Flag(help: "As JSON.") var json = false

    func run() async throws {
      try await reportingSettings {
        let streams = try await Stores().parked(projection)
        if json { return print(Parked.json(streams)) }
        guard !streams.isEmpty else { return print("No stream is parked.") }
        var table = Table(
          "projection", "gen", "stream", "version", "position", "type", "tries", "since", "next", "error")
        for stream in streams {
          table.add(
            stream.projection, "\(stream.generation)", "\(stream.stream)", "\(stream.version)", "\(stream.position)",
            stream.eventType, "\(stream.attempts)", "\(stream.parkedAt)", stream.next,
            stream.error.split(separator: "\n").first.map { String($0.prefix(100)) } ?? "")
        }
        print(table.text)
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Shows a parked stream, with the event that failed and the attempts at its calls.")
    @Argument(help: "The projection.") var projection: String
    @Argument(help: "The stream.") var stream: String

    func run() async throws {
      try await reportingSettings {
        let stores = try Stores()
        let found = try await stores.parked(projection, stream)
        guard !found.isEmpty else { throw ValidationError("\(stream) is not parked in \(projection)") }
        for parked in found {
          print(
            "\(parked.projection), generation \(parked.generation): \(parked.stream) waits before version \(parked.version)"
          )
          print("since \(parked.parkedAt), tried \(parked.attempts) times, next: \(parked.next)")
          print("\n\(parked.error)\n")
          if let event = try await stores.events.events(after: Position(parked.position.rawValue - 1), limit: 1).first {
            print("position \(event.position), \(event.type) version \(event.schemaVersion), \(event.recordedAt)")
            print(String(decoding: event.data, as: UTF8.self))
            let attempts = try await EffectAttempts.all(of: event.id, in: parked.projection, stores.writeStore)
            if !attempts.isEmpty { print("\n\(Parked.table(attempts))") }
          }
        }
      }
    }
  }

  struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Applies the event that failed again, and continues with the next events of the stream.")
    @Argument(help: "The projection.") var projection: String?
    @Argument(help: "The streams; every parked stream of the projection if none is given.") var streams: [String] = []
    @Flag(help: "Every parked stream of every projection.") var all = false
    @Option(help: "Seconds to wait until a projector has done it.") var wait = 30

    func validate() throws {
      guard projection != nil || all else { throw ValidationError("give a projection, or --all") }
    }

    func run() async throws { try await Parked.ask(for: .retry, projection, streams, wait) }
  }

  struct Discard: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Skips the event that failed, for one projection, and continues with the next event of each stream.")
    @Argument(help: "The projection.") var projection: String
    @Argument(help: "The streams.") var streams: [String]
    @Option(help: "Seconds to wait until a projector has done it.") var wait = 30

    func run() async throws { try await Parked.ask(for: .discard, projection, streams, wait) }
  }

  private static func ask(
    for request: ParkedStreams.Request, _ projection: String?, _ streams: [String], _ wait: Int
  ) async throws {
    try await reportingSettings {
      let stores = try Stores()
      func parked() async throws -> [ParkedStream] {
        try await stores.parked(projection).filter { streams.isEmpty || streams.contains($0.stream.rawValue) }
      }
      let missing = Set(streams).subtracting(try await parked().map(\.stream.rawValue)).sorted()
      guard missing.isEmpty else { throw ValidationError("not parked: \(missing.joined(separator: ", "))") }
      var count = 0
      for stream in streams.isEmpty ? [nil] : streams.map(Optional.some) {
        for parked in stores.parkedStreams { count += try await parked.ask(for: request, projection, stream) }
      }
      guard count > 0 else { throw ValidationError("no such stream is parked") }
      let deadline = Machine.now + .seconds(wait)
      var left = try await parked()
      while left.contains(where: { $0.request != nil }), Machine.now < deadline {
        try await Machine.sleep(for: .milliseconds(200))
        left = try await parked()
      }
      let asked = left.filter { $0.request != nil }
      print("\(count - left.count) of \(count) streams continue")
      for stream in left where stream.request == nil {
        print("\(stream.stream) failed again: \(stream.error); next: \(stream.next)")
      }
      if !asked.isEmpty {
        print("No process has tried \(asked.count) streams yet: check that a projector (or reactor) runs.")
      }
      if !left.isEmpty { throw ExitCode(1) }
    }
  }

  private static func table(_ attempts: [EffectAttempts.Entry]) -> String {
    var table = Table("call", "attempt", "started", "finished", "outcome", "error")
    for attempt in attempts {
      table.add(
        attempt.key, "\(attempt.number)", "\(attempt.startedAt)", attempt.finishedAt?.description ?? "",
        attempt.outcome ?? "none yet", attempt.error ?? "")
    }
    return table.text
  }

  private static func json(_ streams: [ParkedStream]) -> String {
    var json = JSONWriter()
    json.array(streams) { json, stream in
      json.object { json in
        json.member("projection", stream.projection)
        json.member("generation", Int64(stream.generation))
        json.member("stream", stream.stream.rawValue)
        json.member("version", stream.version.rawValue)
        json.member("position", stream.position.rawValue)
        json.member("type", stream.eventType)
        json.member("error", stream.error)
        json.member("attempts", Int64(stream.attempts))
        json.member("parkedAt", stream.parkedAt.description)
        json.member("retryAt", ifPresent: stream.retryAt?.description)
      }
    }
    return json.string
  }
}

extension ParkedStream {
  /// What happens next to it, for people.
  fileprivate var next: String { request ?? retryAt.map { "retry at \($0)" } ?? "operator" }
}
