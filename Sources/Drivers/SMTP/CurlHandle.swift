internal import CCurl
internal import EventLoop
import Glibc

/// Initialises libcurl, once.
private let libcurlStatus = curl_global_init(Int(CURL_GLOBAL_ALL))

/// Owns a `CURL`, which keeps the connection between two mails. It never leaves the actor that made it, so only one
/// thread at a time uses it, as libcurl requires. The type cannot be copied, so the memory is freed exactly once.
struct CurlHandle: ~Copyable {
  private let raw: UnsafeMutableRawPointer
  /// What libcurl says about the transfer that failed last.
  private let reason: UnsafeMutablePointer<CChar>

  private init(_ raw: UnsafeMutableRawPointer) {
    self.raw = raw
    reason = .allocate(capacity: Int(CURL_ERROR_SIZE))
    reason.pointee = 0
  }

  /// Says QUIT to the server. libcurl waits up to two minutes for the reply, so this happens on a thread of its own.
  deinit {
    counterflow_curl_set_reason(raw, nil)
    reason.deallocate()
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { raw in
        blockBrokenPipes()
        curl_easy_cleanup(raw)
        return nil
      }, raw)
    if result == 0 { pthread_detach(thread) } else { curl_easy_cleanup(raw) }
  }

  /// Makes a handle for this thread. It connects when it sends.
  static func make(_ server: SMTPServer, _ limits: SMTPClient.Limits) throws(SMTPError) -> CurlHandle {
    guard libcurlStatus == CURLE_OK, let raw = curl_easy_init() else {
      throw SMTPError(.connectionFailed, "libcurl does not start: out of memory")
    }
    blockBrokenPipes()
    let handle = CurlHandle(raw)
    try handle.set(limits)
    try handle.set(server)
    return handle
  }

  private func set(_ limits: SMTPClient.Limits) throws(SMTPError) {
    try check(counterflow_curl_set_reason(raw, reason))
    // Signals belong to the whole process.
    try set(CURLOPT_NOSIGNAL, 1)
    try set(CURLOPT_UPLOAD, 1)
    // To libcurl, 0 is no limit.
    try set(CURLOPT_CONNECTTIMEOUT_MS, max(1, Int(limits.connect.milliseconds)))
    try set(CURLOPT_TIMEOUT_MS, max(1, Int(limits.send.milliseconds)))
    // Also the limit of the QUIT that follows a refusal.
    try set(CURLOPT_SERVER_RESPONSE_TIMEOUT, Int(limits.send.milliseconds) / 1000 + 1)
    try set(CURLOPT_NOPROGRESS, 0)
    // libcurl calls this at least once a second.
    try check(counterflow_curl_set_progress(raw) { _, _, _, _, _ in Task.isCancelled ? 1 : 0 })
  }

  private func set(_ server: SMTPServer) throws(SMTPError) {
    try set(CURLOPT_URL, server.description)
    // The settings say where mail goes, not variables such as ALL_PROXY.
    try set(CURLOPT_PROXY, "")
    try set(CURLOPT_USE_SSL, Int(server.encryption.level.rawValue))
    try set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
    if let certificates = server.certificates {
      try set(CURLOPT_CAINFO, certificates)
      try set(CURLOPT_CAPATH, nil)
    }
    if let login = server.login {
      try set(CURLOPT_USERNAME, login.user)
      try set(CURLOPT_PASSWORD, login.password)
    }
  }

  /// Sends a mail, over the connection of the last one if it is still usable. After an error, make a new handle: a late
  /// reply to this mail would count as the reply to the next one.
  func send(_ mail: Mail) throws(SMTPError) {
    try set(CURLOPT_MAIL_FROM, mail.from.address)
    guard let recipients = curl_slist_append(nil, mail.to.address) else {
      throw SMTPError(.connectionFailed, "out of memory")
    }
    defer { curl_slist_free_all(recipients) }
    try check(counterflow_curl_set_recipients(raw, recipients))
    let message = mail.message
    try set(CURLOPT_INFILESIZE, message.count)
    let (status, isStarted) = message.withUnsafeBytes { bytes in
      var source = Source(rest: bytes)
      let status = perform(&source)
      return (status, source.isStarted)
    }
    guard status == CURLE_OK else {
      let error = error(status, isStarted: isStarted)
      abandonConnection()
      throw error
    }
  }

  /// Ends the connection, if libcurl keeps it: after a time-out it does. The QUIT of `deinit` then fails at once.
  private func abandonConnection() {
    let socket = counterflow_curl_socket(raw)
    if socket >= 0 { shutdown(socket, Int32(SHUT_RDWR)) }
  }

  private func perform(_ source: inout Source) -> CURLcode {
    withUnsafeMutablePointer(to: &source) { source in
      let read: curl_read_callback = { target, size, count, source in
        guard let target, let source else { return 0 }
        return source.assumingMemoryBound(to: Source.self).pointee.take(upTo: size * count, to: target)
      }
      let status = counterflow_curl_set_source(raw, read, source)
      return status == CURLE_OK ? curl_easy_perform(raw) : status
    }
  }

  private func error(_ status: CURLcode, isStarted: Bool) -> SMTPError {
    let reason = String(cString: reason)
    return SMTPError(
      status, reply: counterflow_curl_reply(raw), isStarted: isStarted,
      reason.isEmpty ? String(cString: curl_easy_strerror(status)) : reason)
  }

  private func set(_ option: CURLoption, _ value: Int) throws(SMTPError) {
    try check(counterflow_curl_set_number(raw, option, value))
  }

  private func set(_ option: CURLoption, _ value: String?) throws(SMTPError) {
    try check(counterflow_curl_set_text(raw, option, value))
  }

  private func check(_ status: CURLcode) throws(SMTPError) {
    guard status == CURLE_OK else { throw SMTPError(.unknown, String(cString: curl_easy_strerror(status))) }
  }
}

/// The message while libcurl reads it.
private struct Source {
  var rest: UnsafeRawBufferPointer
  /// Whether the server has asked for the message.
  var isStarted = false

  mutating func take(upTo count: Int, to target: UnsafeMutablePointer<CChar>) -> Int {
    isStarted = true
    let part = UnsafeRawBufferPointer(rebasing: rest.prefix(count))
    UnsafeMutableRawBufferPointer(start: target, count: part.count).copyMemory(from: part)
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
    return part.count
  }
}

extension SMTPServer.Encryption {
  fileprivate var level: curl_usessl {
    switch self {
    case .never: CURLUSESSL_NONE
    case .ifOffered: CURLUSESSL_TRY
    case .required, .fromTheStart: CURLUSESSL_ALL
    }
  }
}

extension SMTPError {
  /// - Parameters:
  ///   - reply: the server's last reply; 0 if there is none.
  ///   - isStarted: whether the server has asked for the message.
  fileprivate init(_ status: CURLcode, reply: Int, isStarted: Bool, _ reason: String) {
    let isRefusal = reply >= 400
    switch status {
    case CURLE_ABORTED_BY_CALLBACK: self.init(.cancelled, "the task was cancelled")
    case CURLE_OPERATION_TIMEDOUT: self.init(.timeout, reason)
    case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_SSL_CONNECT_ERROR, CURLE_OUT_OF_MEMORY:
      self.init(.connectionFailed, reason)
    case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE: self.init(.insecure, reason)
    case CURLE_USE_SSL_FAILED where !isRefusal: self.init(.insecure, reason)
    case CURLE_LOGIN_DENIED, CURLE_REMOTE_ACCESS_DENIED, CURLE_USE_SSL_FAILED:
      self.init(.clientRefused(reply: reply), reason)
    // The greeting.
    case CURLE_WEIRD_SERVER_REPLY where isRefusal && !isStarted: self.init(.clientRefused(reply: reply), reason)
    // Mail needs a login.
    case CURLE_SEND_ERROR where reply == 530: self.init(.clientRefused(reply: reply), reason)
    case CURLE_WEIRD_SERVER_REPLY where isRefusal: self.init(.refused(reply: reply), "the message")
    case CURLE_SEND_ERROR where isRefusal: self.init(.refused(reply: reply), reason)
    case CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_GOT_NOTHING, CURLE_WEIRD_SERVER_REPLY:
      self.init(.connectionLost, reason)
    default: self.init(.unknown, reason)
    }
  }
}

/// libcurl leaves SIGPIPE to the program. Blocked, it does not end the process when a server closes the connection.
private func blockBrokenPipes() {
  var signals = sigset_t()
  sigemptyset(&signals)
  sigaddset(&signals, SIGPIPE)
  pthread_sigmask(SIG_BLOCK, &signals, nil)
}
