import CLinux
import DequeModule
import Glibc

/// The requests that the driver sends, and what happens with their responses.
protocol Traffic: AnyObject {
  /// When the next request is due; nil if there are no more.
  func nextArrival() -> Nanoseconds?
  /// Returns the request that is due.
  func arrive() -> Request?
  /// - Returns: the requests to send next.
  func answered(_ request: Request, _ response: Response, at now: Nanoseconds) -> [Request]
  func failed(_ request: Request, _ reason: String, at now: Nanoseconds)
  /// Returns a request for an idle connection of the side. Only closed loops have one.
  func idle(_ side: Side, at now: Nanoseconds) -> Request?
  /// Called about every 100 ms.
  func tick(at now: Nanoseconds)
  /// Whether the run is over.
  func isFinished(at now: Nanoseconds) -> Bool
}

/// Sends requests when they are due, over a fixed number of connections, on the caller's thread.
final class Driver {
  /// The maximum number of requests per side that wait for a connection; more fail at once.
  static let backlog = 200_000

  private let poll: Int32
  private let timer: Int32
  private var connections: [Connection] = []
  /// By the side's number: idle connections, and requests that wait for a connection.
  private var idle: [[Int]] = Side.allCases.map { _ in [] }
  private var waiting: [Deque<Request>] = Side.allCases.map { _ in [] }
  private var reopen: [(index: Int, at: Nanoseconds)] = []
  /// By the side's number: the reason of the last lost connection.
  private var trouble: [String?] = Side.allCases.map { _ in nil }
  private let timeout: Nanoseconds

  private static let timerTag = UInt64.max
  private static let pauseBeforeReconnecting = Nanoseconds.seconds(0.1)

  /// - Parameters:
  ///   - connections: the number of connections to each side, spread over its endpoints.
  ///   - timeout: the maximum seconds from when a request is due to its response. Then the connection is closed.
  init(_ endpoints: [Side: [Endpoint]], connections: [Side: Int], timeout: Double) throws {
    poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
    self.timeout = .seconds(timeout)
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.u64 = Self.timerTag
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event)
    for side in Side.allCases {
      guard let places = endpoints[side], !places.isEmpty else { continue }
      for number in 0..<(connections[side] ?? 0) {
        let connection = Connection(side, self.connections.count, places[number % places.count], poll: poll)
        self.connections.append(connection)
      }
    }
  }

  deinit {
    close(poll)
    close(timer)
  }

  func run(_ traffic: some Traffic) {
    for connection in connections where connection.state == .closed { open(connection, traffic) }
    var events = [epoll_event](repeating: epoll_event(), count: 256)
    var nextTick = Clock.now
    while true {
      var now = Clock.now
      if now >= nextTick {
        nextTick = now + .seconds(0.1)
        traffic.tick(at: now)
        expire(traffic, now)
        reconnect(traffic, now)
        for connection in idle.flatMap({ $0 }).map({ connections[$0] }) {
          guard let request = traffic.idle(connection.side, at: now) else { continue }
          idle[connection.side.rawValue].removeAll { $0 == connection.index }
          send(request, on: connection, traffic)
        }
        if traffic.isFinished(at: now) { return }
      }
      while let due = traffic.nextArrival(), due <= now {
        guard let request = traffic.arrive() else { break }
        submit(request, traffic, now)
        now = Clock.now
      }
      arm(min(traffic.nextArrival() ?? nextTick, nextTick))
      let count = epoll_wait(poll, &events, Int32(events.count), 200)
      for event in events[..<max(0, Int(count))] {
        guard event.data.u64 != Self.timerTag else {
          var expirations = UInt64(0)
          _ = read(timer, &expirations, 8)
          continue
        }
        let isEnding = event.events & (EPOLLRDHUP.rawValue | EPOLLHUP.rawValue) != 0
        serve(connections[Int(event.data.u64)], isEnding: isEnding, traffic)
      }
    }
  }

  private func serve(_ connection: Connection, isEnding: Bool, _ traffic: some Traffic) {
    guard connection.state != .closed else { return }
    let (before, request) = (connection.state, connection.request)
    do {
      let response = try connection.ready(isEnding: isEnding)
      if let response, let request {
        let now = Clock.now
        for next in traffic.answered(request, response, at: now) { submit(next, traffic, now) }
        if connection.state == .closed { open(connection, traffic) }
      }
      if connection.state == .idle, before != .idle { takeNext(connection, traffic) }
    } catch { lose(connection, request, error.reason, traffic) }
  }

  private func takeNext(_ connection: Connection, _ traffic: some Traffic) {
    if let request = waiting[connection.side.rawValue].popFirst() ?? traffic.idle(connection.side, at: Clock.now) {
      send(request, on: connection, traffic)
    } else {
      idle[connection.side.rawValue].append(connection.index)
    }
  }

  private func submit(_ request: Request, _ traffic: some Traffic, _ now: Nanoseconds) {
    if let index = idle[request.side.rawValue].popLast() {
      send(request, on: connections[index], traffic)
    } else if waiting[request.side.rawValue].count < Self.backlog {
      waiting[request.side.rawValue].append(request)
    } else {
      traffic.failed(request, "no free connection in time", at: now)
    }
  }

  private func send(_ request: Request, on connection: Connection, _ traffic: some Traffic) {
    do { try connection.send(request, at: Clock.now) } catch { lose(connection, request, error.reason, traffic) }
  }

  private func lose(_ connection: Connection, _ request: Request?, _ reason: String, _ traffic: some Traffic) {
    let (isStale, hasServed) = (connection.isStale, connection.answers > 0)
    connection.close()
    idle[connection.side.rawValue].removeAll { $0 == connection.index }
    let now = Clock.now
    trouble[connection.side.rawValue] = reason
    if var request {
      // Sends it once more. Every request may be repeated, because commands have idempotency keys.
      if isStale, !request.isRepeated, request.intended + timeout > now {
        request.isRepeated = true
        submit(request, traffic, now)
      } else {
        traffic.failed(request, reason, at: now)
      }
    }
    // If the server has answered on this connection, connect again at once. Otherwise wait first.
    if hasServed {
      open(connection, traffic)
    } else {
      reopen.append((connection.index, now + Self.pauseBeforeReconnecting))
    }
  }

  private func open(_ connection: Connection, _ traffic: some Traffic) {
    do { try connection.open() } catch { lose(connection, nil, error.reason, traffic) }
  }

  private func reconnect(_ traffic: some Traffic, _ now: Nanoseconds) {
    let due = reopen.filter { $0.at <= now }
    reopen.removeAll { $0.at <= now }
    for (index, _) in due { open(connections[index], traffic) }
  }

  private func expire(_ traffic: some Traffic, _ now: Nanoseconds) {
    for connection in connections where connection.state == .busy {
      guard let request = connection.request, request.intended + timeout < now else { continue }
      lose(connection, connection.request, "no response in time", traffic)
    }
    for side in Side.allCases {
      while let first = waiting[side.rawValue].first, first.intended + timeout < now {
        waiting[side.rawValue].removeFirst()
        traffic.failed(
          first, "not sent in time" + (trouble[side.rawValue].map { "; last error: \($0)" } ?? ""), at: now)
      }
    }
  }

  private func arm(_ time: Nanoseconds) {
    clinux_timer_set(timer, Int64(max(time, 1)))
  }
}
