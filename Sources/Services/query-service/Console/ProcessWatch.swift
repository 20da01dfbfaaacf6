import Foundation
import JSON
import Observability
import ServiceKit

/// The other processes, as their metrics show them from one look to the next.
actor ProcessWatch {
  /// Where the processes are: URLs, whose host names may stand for several addresses, and folders with a file `….url` for each.
  static let processes = Setting<[String]>(
    "CONSOLE_PROCESSES", default: "none",
    allowed: "none, or http and https URLs and folders of files that end in .url, with commas between",
    help: "The processes that the console shows, by their HTTP ports; each address of a name is one."
  ) { text in
    guard text != "none" else { return [] }
    let places = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    let isFine = places.allSatisfy { place in
      place.hasPrefix("/") || isURL(place)
    }
    return isFine && !places.isEmpty ? places : nil
  }

  private static func isURL(_ text: String) -> Bool {
    URL(string: text).map { ["http", "https"].contains($0.scheme) && $0.host != nil } ?? false
  }

  /// Where one process answers.
  private struct Target: Hashable, Sendable {
    let url: URL
    /// One that the host's name stands for.
    let address: String

    /// What it is called in the console.
    var name: String {
      "\(url.scheme ?? "")://\(address.contains(":") ? "[\(address)]" : address):\(ProcessClient.port(of: url))"
    }
  }

  /// The last two looks at all of them, and how far apart they were; nil after the first.
  struct Looks: Sendable {
    var before: [String: Seen] = [:]
    var now: [String: Seen] = [:]
    var span: Duration?
  }

  struct Seen: Sendable {
    let address: String
    /// nil where it did not answer.
    let metrics: Exposition?
    let why: String?
    let at: ContinuousClock.Instant
    /// What it is, or was when it last said so.
    var service: String?
  }

  private let places: [String]
  private let token: String?
  private let client: ProcessClient
  private var looks = Looks()
  private var lookedAt: ContinuousClock.Instant?

  init(_ places: [String], token: String?, client: ProcessClient) {
    (self.places, self.token, self.client) = (places, token, client)
  }

  /// Looks at all of them, and at this process itself.
  func look() async -> Looks {
    let targets = await targets
    let known = looks.now
    var found: [String: Seen] = [:]
    await withTaskGroup(of: Seen.self) { group in
      for target in Set(targets) { group.addTask { await self.look(at: target) } }
      for await var seen in group {
        seen.service = seen.service ?? known[seen.address]?.service
        found[seen.address] = seen
      }
    }
    // A process that is gone by itself, with its file, is shown no more; one that does not answer is.
    let now = ContinuousClock.now
    looks = Looks(before: known, now: found, span: lookedAt.map { now - $0 })
    lookedAt = now
    return looks
  }

  private nonisolated func look(at target: Target) async -> Seen {
    let start = ContinuousClock.now
    func silent(_ why: String) -> Seen { Seen(address: target.name, metrics: nil, why: why, at: start) }
    do {
      let answer = try await client.send(
        "GET", target.url.appendingPathComponent("metrics"), at: target.address, token: token, within: .seconds(2))
      guard answer.status == 200 else { return silent("refuses its metrics") }
      let metrics = Exposition(String(decoding: answer.body, as: UTF8.self))
      let service = metrics.samples.first { $0.name == "counterflow_process_info" }?.labels["service"]
      return Seen(address: target.name, metrics: metrics, why: nil, at: start, service: service)
    } catch {
      return silent(error.isAboutTrust ? error.description : "does not answer")
    }
  }

  /// Asked for on a thread that may block: a name server takes its time.
  private var targets: [Target] {
    get async {
      let places = places
      return await withCheckedContinuation { continuation in
        DispatchQueue.global(qos: .utility).async {
          continuation.resume(returning: places.flatMap { Self.targets(at: $0) })
        }
      }
    }
  }

  private static func targets(at place: String) -> [Target] {
    guard place.hasPrefix("/") else { return targets(ofURL: place) }
    let files = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
    return files.filter { $0.hasSuffix(".url") }.compactMap { file in
      (try? String(contentsOfFile: place + "/" + file, encoding: .utf8))?.trimmingCharacters(
        in: .whitespacesAndNewlines)
    }.filter(isURL).flatMap { targets(ofURL: $0) }
  }

  /// One for each address that the host's name stands for.
  private static func targets(ofURL text: String) -> [Target] {
    guard let url = URL(string: text), let host = url.host?.trimmingCharacters(in: ["[", "]"]) else { return [] }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, nil, &hints, &list) == 0 else {
      return [Target(url: url, address: host)]
    }
    defer { freeaddrinfo(list) }
    var found: [Target] = []
    var next = list
    while let entry = next?.pointee {
      var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      if getnameinfo(entry.ai_addr, entry.ai_addrlen, &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) == 0 {
        let address = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        found.append(Target(url: url, address: address))
      }
      next = entry.ai_next
    }
    return found
  }
}
