import Foundation
import FoundationNetworking
import JSON
import Observability
import ServiceKit

/// The other processes, as their metrics show them from one look to the next.
actor ProcessWatch {
  /// Where the processes are: URLs, whose host names may stand for several addresses, and folders with a file `….url` for each.
  static let processes = Setting<[String]>(
    "CONSOLE_PROCESSES", default: "none",
    allowed: "none, or http URLs and folders of files that end in .url, with commas between",
    help: "The processes that the console shows, by their HTTP ports; each address of a name is one."
  ) { text in
    guard text != "none" else { return [] }
    let places = text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
    let isFine = places.allSatisfy { place in
      place.hasPrefix("/") || (URL(string: place).map { $0.scheme == "http" && $0.host != nil } ?? false)
    }
    return isFine && !places.isEmpty ? places : nil
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
  private let session: URLSession
  private(set) var before: [String: Seen] = [:]
  private(set) var now: [String: Seen] = [:]

  init(_ places: [String], token: String?) {
    (self.places, self.token) = (places, token)
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = 2
    configuration.httpMaximumConnectionsPerHost = 1
    session = URLSession(configuration: configuration)
  }

  /// Looks at all of them, and at this process itself.
  func look() async -> (before: [String: Seen], now: [String: Seen]) {
    let addresses = await addresses
    var found: [String: Seen] = [:]
    await withTaskGroup(of: Seen.self) { group in
      for address in Set(addresses) { group.addTask { await self.look(at: address) } }
      for await var seen in group {
        seen.service = seen.service ?? now[seen.address]?.service
        found[seen.address] = seen
      }
    }
    // A process that is gone by itself, with its file, is shown no more; one that does not answer is.
    (before, now) = (now, found)
    return (before, now)
  }

  private nonisolated func look(at address: String) async -> Seen {
    let start = ContinuousClock.now
    var request = URLRequest(url: URL(string: address + "/metrics")!)
    if let token { request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization") }
    do {
      let (data, response) = try await session.data(for: request)
      guard (response as? HTTPURLResponse)?.statusCode == 200 else {
        return Seen(address: address, metrics: nil, why: "refuses its metrics", at: start)
      }
      let metrics = Exposition(String(decoding: data, as: UTF8.self))
      let service = metrics.samples.first { $0.name == "counterflow_process_info" }?.labels["service"]
      return Seen(address: address, metrics: metrics, why: nil, at: start, service: service)
    } catch {
      return Seen(address: address, metrics: nil, why: "does not answer", at: start)
    }
  }

  /// Asked for on a thread that may block: a name server takes its time.
  private var addresses: [String] {
    get async {
      let places = places
      return await withCheckedContinuation { continuation in
        DispatchQueue.global(qos: .utility).async {
          continuation.resume(returning: places.flatMap { Self.addresses(of: $0) })
        }
      }
    }
  }

  private static func addresses(of place: String) -> [String] {
    guard place.hasPrefix("/") else { return addresses(ofURL: place) }
    let files = (try? FileManager.default.contentsOfDirectory(atPath: place)) ?? []
    return files.filter { $0.hasSuffix(".url") }.compactMap { file in
      (try? String(contentsOfFile: place + "/" + file, encoding: .utf8))?.trimmingCharacters(
        in: .whitespacesAndNewlines)
    }.filter { URL(string: $0)?.scheme == "http" }
  }

  /// Each address that a name stands for.
  private static func addresses(ofURL text: String) -> [String] {
    guard let url = URL(string: text), let host = url.host else { return [] }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [text] }
    defer { freeaddrinfo(list) }
    var found: [String] = []
    var next = list
    while let entry = next?.pointee {
      var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      if getnameinfo(entry.ai_addr, entry.ai_addrlen, &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) == 0 {
        let address = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        found.append("http://\(address.contains(":") ? "[\(address)]" : address):\(url.port ?? 80)")
      }
      next = entry.ai_next
    }
    return found
  }
}
