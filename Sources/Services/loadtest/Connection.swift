import CLinux
import Glibc
import NIOCore
import NIOSSL

/// A keep-alive connection with one request at a time.
final class Connection {
  enum State { case closed, connecting, idle, busy }

  struct Lost: Error { let reason: String }

  let side: Side
  let index: Int
  private let endpoint: Endpoint
  private let poll: Int32
  private(set) var state = State.closed
  private(set) var request: Request?
  /// The number of responses since the connection was opened.
  private(set) var answers = 0
  /// The connection had responses before, but nothing has arrived for this request. The server may have closed the
  /// connection before the request arrived.
  var isStale: Bool { answers > 0 && received.isEmpty }
  /// When the request was handed to the connection.
  private(set) var since: Nanoseconds = 0
  private var socket: Int32 = -1
  /// nil without TLS.
  private var tls: TLSSession?
  private var unsent: ArraySlice<UInt8> = []
  private var received: [UInt8] = []
  private var scratch = [UInt8](repeating: 0, count: 64 * 1024)

  init(_ side: Side, _ index: Int, _ endpoint: Endpoint, poll: Int32) {
    (self.side, self.index, self.endpoint, self.poll) = (side, index, endpoint, poll)
  }

  deinit { if socket >= 0 { Glibc.close(socket) } }

  /// Starts to connect.
  func open() throws(Lost) {
    close()
    socket = Glibc.socket(
      endpoint.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw Lost(reason: "cannot create a socket: \(String(cString: strerror(errno)))") }
    var on: Int32 = 1
    setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    let result = endpoint.address.withUnsafeBytes {
      connect(socket, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
    }
    guard result == 0 || errno == EINPROGRESS else {
      let reason = String(cString: strerror(errno))
      close()
      throw Lost(reason: "cannot connect: \(reason)")
    }
    state = .connecting
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
    event.data.u64 = UInt64(index)
    epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event)
  }

  func close() {
    if socket >= 0 { Glibc.close(socket) }
    (socket, state, unsent, request, answers, tls) = (-1, .closed, [], nil, 0, nil)
    received.removeAll(keepingCapacity: true)
  }

  func send(_ request: Request, at now: Nanoseconds) throws(Lost) {
    (self.request, since, state) = (request, now, .busy)
    if let tls {
      try secured { () throws(TLSSession.Failed) in try tls.encrypt(request.bytes) }
    } else {
      unsent = request.bytes[...]
    }
    try flush()
  }

  private func secured<Value>(_ body: () throws(TLSSession.Failed) -> Value) throws(Lost) -> Value {
    do { return try body() } catch { throw Lost(reason: error.reason) }
  }

  private func flush() throws(Lost) {
    if let tls { unsent += try secured { () throws(TLSSession.Failed) in try tls.takeEncrypted() } }
    while !unsent.isEmpty {
      let count = unsent.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else {
        if errno == EAGAIN { return }
        throw Lost(reason: String(cString: strerror(errno)))
      }
      unsent = unsent.dropFirst(count)
    }
  }

  /// Handles a socket that may be readable or writable.
  /// - Parameter isEnding: whether the server sends nothing more after this.
  /// - Returns: the response, or nil while it is incomplete.
  func ready(isEnding: Bool) throws(Lost) -> Response? {
    if state == .connecting {
      var (error, size) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
      getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size)
      guard error == 0 else { throw Lost(reason: "cannot connect: \(String(cString: strerror(error)))") }
      var peer = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let isConnected = withUnsafeMutableBytes(of: &peer) {
        getpeername(socket, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length) == 0
      }
      guard isConnected else { return nil }
      if endpoint.tls == nil {
        state = .idle
      } else if tls == nil {
        tls = try secured { () throws(TLSSession.Failed) in try endpoint.session() }
      }
    }
    try flush()
    while true {
      let count = recv(socket, &scratch, scratch.count, 0)
      if count > 0 {
        if let tls {
          received += try secured { () throws(TLSSession.Failed) in try tls.decrypt(scratch[..<count]) }
        } else {
          received += scratch[..<count]
        }
        if count < scratch.count { break }
      } else if count == 0 {
        throw Lost(reason: "the server closed the connection")
      } else if errno == EAGAIN {
        break
      } else if errno != EINTR {
        throw Lost(reason: String(cString: strerror(errno)))
      }
    }
    if let tls {
      try flush()
      if state == .connecting, tls.isEstablished { state = .idle }
    }
    guard state == .busy, !received.isEmpty else {
      guard !isEnding else { throw Lost(reason: "the server closed the connection") }
      return nil
    }
    do {
      guard let (response, length, closes) = try ResponseParser.parse(received) else { return nil }
      if length == received.count { received.removeAll(keepingCapacity: true) } else { received.removeFirst(length) }
      (state, request) = (.idle, nil)
      answers += 1
      if closes || isEnding { close() }
      return response
    } catch { throw Lost(reason: "invalid response: \(error.reason)") }
  }
}

/// The address of a server.
struct Endpoint {
  let family: Int32
  /// A `sockaddr`.
  let address: [UInt8]
  /// The trusted certificates, and the name that the server must prove; nil without TLS.
  fileprivate let tls: (context: NIOSSLContext, name: String?, peer: SocketAddress)?

  struct Unknown: Error, CustomStringConvertible { let description: String }

  private init(
    _ entry: addrinfo, _ address: UnsafePointer<sockaddr>, host: String, port: Int, _ context: NIOSSLContext?
  ) {
    family = entry.ai_family
    self.address = Array(UnsafeRawBufferPointer(start: address, count: Int(entry.ai_addrlen)))
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    getnameinfo(address, entry.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
    let peer = text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    tls = context.flatMap { context in
      (try? SocketAddress(ipAddress: peer, port: port)).map { (context, peer == host ? nil : host, $0) }
    }
  }

  fileprivate func session() throws(TLSSession.Failed) -> TLSSession {
    try TLSSession(tls!.context, name: tls!.name, address: tls!.peer)
  }

  /// Returns an endpoint for each address of the host.
  /// - Parameter context: nil without TLS.
  static func all(host: String, port: Int, _ context: NIOSSLContext?) throws(Unknown) -> [Endpoint] {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let result = getaddrinfo(host, String(port), &hints, &list)
    defer { freeaddrinfo(list) }
    var found: [Endpoint] = []
    var next = list
    while let entry = next?.pointee {
      if let address = entry.ai_addr { found.append(Endpoint(entry, address, host: host, port: port, context)) }
      next = entry.ai_next
    }
    guard result == 0, !found.isEmpty else {
      throw Unknown(description: "unknown host \(host): \(String(cString: gai_strerror(result)))")
    }
    return found
  }
}
