internal import CRabbitMQ
internal import EventLoop
import Glibc

/// Owns an `amqp_connection_state_t`. It never leaves the actor that made it, so only one thread uses it, as
/// librabbitmq requires. The type cannot be copied, so the state is destroyed exactly once.
struct RabbitMQHandle: ~Copyable {
  static let channel: UInt16 = 1
  /// The maximum size of a frame, in bytes. A larger body needs several frames.
  static let frameMaximum: Int32 = 131_072

  let state: amqp_connection_state_t

  init(_ state: amqp_connection_state_t) { self.state = state }

  deinit { amqp_destroy_connection(state) }

  var socket: Int32 { amqp_get_sockfd(state) }
}

extension timeval {
  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    self.init(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
  }
}

extension amqp_rpc_reply_t {
  /// The error in the reply; nil for a normal reply.
  var error: RabbitMQError? {
    switch reply_type {
    case AMQP_RESPONSE_NORMAL: nil
    case AMQP_RESPONSE_LIBRARY_EXCEPTION: RabbitMQError(status: library_error)
    case AMQP_RESPONSE_SERVER_EXCEPTION: serverError
    default: RabbitMQError(.connectionLost, "no reply")
    }
  }

  private var serverError: RabbitMQError {
    switch reply.id {
    case Method.channelClose:
      let close = reply.decoded.assumingMemoryBound(to: amqp_channel_close_t.self).pointee
      return RabbitMQError(.refused(reply: close.reply_code), String(close.reply_text))
    case Method.connectionClose:
      let close = reply.decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
      return RabbitMQError(.connectionLost, "\(close.reply_code) \(String(close.reply_text))")
    default: return RabbitMQError(.connectionLost, "unexpected reply \(reply.id)")
    }
  }
}

extension RabbitMQError {
  init(status: Int32) {
    let text = String(cString: amqp_error_string2(status))
    self.init(status == AMQP_STATUS_TIMEOUT.rawValue ? .timeout : .connectionLost, text)
  }
}

/// Connects and logs in. Each of the two may take up to `configuration.timeout`.
func login(_ configuration: RabbitMQConfiguration) throws(RabbitMQError) -> amqp_connection_state_t {
  guard let (url, certificates) = RabbitMQConfiguration.parts(of: configuration.url) else {
    throw RabbitMQError(
      .invalidURL, "the URL must begin with amqp://, or with amqps://, where ?cacertfile=/path may follow")
  }
  // amqp_parse_url changes the text, and its results point into the text.
  let text = strdup(url)
  defer { free(text) }
  var info = amqp_connection_info()
  guard amqp_parse_url(text, &info) == AMQP_STATUS_OK.rawValue else {
    throw RabbitMQError(.invalidURL, "the URL must be amqp://user:password@host:port/vhost")
  }
  guard let state = amqp_new_connection() else { throw RabbitMQError(.connectionFailed, "out of memory") }
  do throws(RabbitMQError) {
    let made = certificates == nil ? amqp_tcp_socket_new(state) : amqp_ssl_socket_new(state)
    guard let socket = made else { throw RabbitMQError(.connectionFailed, "out of memory") }
    if let certificates { try secure(socket, certificates) }
    var timeout = timeval(configuration.timeout)
    let opened = amqp_socket_open_noblock(socket, info.host, info.port, &timeout)
    guard opened == AMQP_STATUS_OK.rawValue else {
      let reason = String(cString: amqp_error_string2(opened))
      throw RabbitMQError(.connectionFailed, "\(String(cString: info.host)):\(info.port): \(reason)")
    }
    bound(sendsOn: amqp_get_sockfd(state), to: configuration.heartbeat * 2)
    guard
      amqp_set_handshake_timeout(state, &timeout) == AMQP_STATUS_OK.rawValue,
      amqp_set_rpc_timeout(state, &timeout) == AMQP_STATUS_OK.rawValue
    else { throw RabbitMQError(.connectionFailed, "the timeouts were refused") }
    try authenticate(state, info, configuration)
    return state
  } catch {
    amqp_destroy_connection(state)
    throw error
  }
}

/// Requires a certificate for the URL's host from an authority in this file.
private func secure(_ socket: OpaquePointer, _ certificates: String) throws(RabbitMQError) {
  guard amqp_ssl_socket_set_cacert(socket, certificates) == AMQP_STATUS_OK.rawValue else {
    throw RabbitMQError(.connectionFailed, "the certificates in \(certificates) cannot be read")
  }
  amqp_ssl_socket_set_verify_peer(socket, 1)
  amqp_ssl_socket_set_verify_hostname(socket, 1)
  guard amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST) == AMQP_STATUS_OK.rawValue else {
    throw RabbitMQError(.connectionFailed, "TLS 1.2 is not possible")
  }
}

private func authenticate(
  _ state: amqp_connection_state_t, _ info: amqp_connection_info, _ configuration: RabbitMQConfiguration
) throws(RabbitMQError) {
  var arena = Arena()
  // Without these capabilities the broker does not report that it cancels a consumer or blocks a publisher.
  var properties = arena.table([
    "connection_name": .string(configuration.connectionName),
    "capabilities": .table(["consumer_cancel_notify": true, "connection.blocked": true]),
  ])
  let seconds = max(1, Int32(configuration.heartbeat.components.seconds))
  let reply = counterflow_login_plain(
    state, info.vhost, RabbitMQHandle.frameMaximum, seconds, &properties, info.user, info.password)
  if let error = reply.error { throw RabbitMQError(.connectionFailed, "login: \(error.message)") }
  amqp_channel_open(state, RabbitMQHandle.channel)
  if let error = amqp_get_rpc_reply(state).error { throw RabbitMQError(.connectionFailed, error.message) }
}

/// Without a limit, a publish waits in the kernel for as long as the broker does not read. TCP_USER_TIMEOUT (RFC 5482)
/// ends that wait, even if the broker's receive window is closed.
private func bound(sendsOn socket: Int32, to limit: Duration) {
  var milliseconds = UInt32(limit.milliseconds)
  _ = setsockopt(
    socket, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &milliseconds, socklen_t(MemoryLayout<UInt32>.size))
}
