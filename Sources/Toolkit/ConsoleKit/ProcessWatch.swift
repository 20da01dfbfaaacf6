internal import Foundation
internal import Machine
internal import Observability
internal import ServiceKit
internal import SettingsKit

/// Polls the metrics of the processes.
actor ProcessWatch {
  /// The addresses of the processes: URLs, whose host names may have several addresses, and folders with one file
  /// `….url` per process.
  static let processes = Setting<[String]>(
    "CONSOLE_PROCESSES", default: "none",
    allowed: "none, self, or http and https URLs and folders of files that end in .url, with commas between",
    help: "The URLs of the processes that the console shows. Each address of a host name is one process."
  ) { text in
    if text == "none" { return [] }
    if text == ownProcess { return [ownProcess] }
    let places = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    let isFine = places.allSatisfy { place in
      place.hasPrefix("/") || isURL(place)
    }
    return isFine && !places.isEmpty ? places : nil
  }

  /// Stands for the process that shows the console, whose metrics need no request.
  private static let ownProcess = "self"

  private static func isURL(_ text: String) -> Bool {
    URL(string: text).map { ["http", "https"].contains($0.scheme) && $0.host != nil } ?? false
  }

  /// The address of one process.
  private struct Target: Hashable, Sendable {
    let url: URL
    /// One of the host's IP addresses.
    let address: String

    /// The name of the process in the console.
    var name: String {
      "\(url.scheme ?? "")://\(address.contains(":") ? "[\(address)]" : address):\(ProcessClient.port(of: url))"
    }
  }

  /// The results of the last two polls, and the time between them. `span` is nil after the first poll.
  struct Looks: Sendable {
    var before: [String: Seen] = [:]
    var now: [String: Seen] = [:]
    var span: Duration?
  }

  struct Seen: Sendable {
    let address: String
    /// nil if the process did not answer.
    let metrics: Exposition?
    let why: String?
    let at: ContinuousClock.Instant
    /// The service's name, from the last metrics that had it.
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

  /// Polls all processes.
  func look() async -> Looks {
    let targets = await targets
    let known = looks.now
    var found: [String: Seen] = [:]
    if places == [Self.ownProcess] { found[Self.ownProcess] = lookAtOwn() }
    await withTaskGroup(of: Seen.self) { group in
      for target in Set(targets) { group.addTask { await self.look(at: target) } }
      for await var seen in group {
        seen.service = seen.service ?? known[seen.address]?.service
        found[seen.address] = seen
      }
    }
    // A process that stopped and removed its file is no longer shown. A process that does not answer still is.
    let now = Machine.now
    looks = Looks(before: known, now: found, span: lookedAt.map { now - $0 })
    lookedAt = now
    return looks
  }

  private nonisolated func lookAtOwn() -> Seen {
    let metrics = Exposition(Observing.text)
    return Seen(address: Self.ownProcess, metrics: metrics, why: nil, at: Machine.now, service: metrics.service)
  }

  private nonisolated func look(at target: Target) async -> Seen {
    let start = Machine.now
    func silent(_ why: String) -> Seen { Seen(address: target.name, metrics: nil, why: why, at: start) }
    do {
      let answer = try await client.send(
        "GET", target.url.appendingPathComponent("metrics"), at: target.address, token: token, within: .seconds(2))
      guard answer.status == 200 else { return silent("refuses its metrics") }
      let metrics = Exposition(String(decoding: answer.body, as: UTF8.self))
      return Seen(address: target.name, metrics: metrics, why: nil, at: start, service: metrics.service)
    } catch {
      return silent(error.isAboutTrust ? error.description : "does not answer")
    }
  }

  /// Resolved on a thread that may block, because a name server can be slow.
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
    guard place != ownProcess else { return [] }
    guard place.hasPrefix("/") else { return targets(ofURL: place) }
    let files = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
    return files.filter { $0.hasSuffix(".url") }.compactMap { file in
      (try? String(contentsOfFile: place + "/" + file, encoding: .utf8))?.trimmingCharacters(
        in: .whitespacesAndNewlines)
    }.filter(isURL).flatMap { targets(ofURL: $0) }
  }

  /// Returns one target for each address of the host.
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

extension Exposition {
  /// The name of the process.
  fileprivate var service: String? { samples.first { $0.name == "counterflow_process_info" }?.labels["service"] }
}
