internal import CRabbitMQ
internal import EventLoop
import Glibc
internal import Synchronization

/// A connection to RabbitMQ with one channel: an actor on its own thread. Between calls, the thread answers heartbeats
/// and takes confirms and deliveries.
///
/// Use one connection for publishing and another for consuming: a broker that blocks a publisher stops reading from
/// the whole connection. A connection that breaks, or whose channel the broker closes, stays broken.
/// `RabbitMQPublisher` and `RabbitMQConsumer` then make a new one.
public actor RabbitMQConnection {
  /// How often an idle connection is polled: often enough for heartbeats of a second or more.
  static let pumpInterval = Duration.milliseconds(250)

  public nonisolated let configuration: RabbitMQConfiguration
  let loop: EventLoop
  public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

  private var handle: RabbitMQHandle?
  /// Whether there is a handle, for any thread.
  private nonisolated let isOpen = Atomic(false)
  private var assembler = FrameAssembler()
  private(set) var failure: RabbitMQError?
  public private(set) var isBlocked = false

  // Publishing.
  var ledger = ConfirmLedger()
  var confirmsAreOn = false
  var nextBatch = 0
  var waiting: [Int: CheckedContinuation<Result<[PublishOutcome], RabbitMQError>, Never>] = [:]

  // Consuming.
  var consumers: [String: AsyncThrowingStream<Delivery, any Error>.Continuation] = [:]

  private init(_ configuration: RabbitMQConfiguration, _ loop: EventLoop) {
    self.configuration = configuration
    self.loop = loop
  }

  deinit { loop.stop() }

  /// Connects, logs in and opens the channel.
  /// - Throws: `invalidURL` or `connectionFailed`.
  public static func connect(_ configuration: RabbitMQConfiguration) async throws(RabbitMQError) -> RabbitMQConnection {
    let loop: EventLoop
    do { loop = try EventLoop() } catch { throw RabbitMQError(.connectionFailed, "\(error)") }
    let connection = RabbitMQConnection(configuration, loop)
    try await connection.open()
    return connection
  }

  public nonisolated var isUsable: Bool { isOpen.load(ordering: .acquiring) }

  public var canPublish: Bool { handle != nil && !isBlocked }

  /// Tells the broker and closes the connection. Publishes that wait for confirms fail; await them first.
  public func close() {
    if let state = handle?.state { amqp_connection_close(state, AMQP_REPLY_SUCCESS) }
    giveUp(RabbitMQError(.closed, "the connection is closed"))
  }

  var state: amqp_connection_state_t {
    get throws(RabbitMQError) {
      guard let state = handle?.state else {
        throw failure ?? RabbitMQError(.closed, "the connection is closed")
      }
      return state
    }
  }

  private func open() throws(RabbitMQError) {
    let handle = RabbitMQHandle(try login(configuration))
    let socket = handle.socket
    self.handle = consume handle
    isOpen.store(true, ordering: .releasing)
    loop.watch(socket, every: Self.pumpInterval) { [weak self] in
      self?.assumeIsolated { $0.pump() }
    }
  }

  /// Closes the connection, and fails all publishes and consumers that wait on it.
  func giveUp(_ error: RabbitMQError) {
    loop.unwatch()
    handle = nil
    isOpen.store(false, ordering: .releasing)
    failure = failure ?? error
    let (publishers, consumers) = (waiting, consumers)
    (waiting, self.consumers) = ([:], [:])
    for continuation in publishers.values { continuation.resume(returning: .failure(error)) }
    for continuation in consumers.values { continuation.finish(throwing: error) }
  }

  /// Calls librabbitmq for an operation that has a reply. If the broker refuses it, the broker closes the channel, and
  /// this connection ends.
  func call<Reply>(_ operation: (amqp_connection_state_t) -> Reply) throws(RabbitMQError) -> Reply {
    let state = try state
    let reply = operation(state)
    if let error = amqp_get_rpc_reply(state).error {
      giveUp(error)
      throw error
    }
    // Frames that arrived while librabbitmq waited for the reply are in its memory, where poll does not see them.
    pump()
    return reply
  }

  /// Calls librabbitmq for an operation without a reply.
  func send(_ operation: (amqp_connection_state_t) -> Int32) throws(RabbitMQError) {
    let status = operation(try state)
    guard status == AMQP_STATUS_OK.rawValue else {
      let error = RabbitMQError(status: status)
      giveUp(error)
      throw error
    }
  }

  /// Takes every frame that has arrived, without waiting. librabbitmq also sends heartbeats here.
  func pump() {
    while let state = handle?.state {
      var frame = amqp_frame_t()
      var immediately = timeval(tv_sec: 0, tv_usec: 0)
      let status = amqp_simple_wait_frame_noblock(state, &frame, &immediately)
      if status == AMQP_STATUS_TIMEOUT.rawValue { break }
      guard status == AMQP_STATUS_OK.rawValue else { return giveUp(RabbitMQError(status: status)) }
      if let incoming = assembler.take(frame) { handle(incoming) }
      if let state = handle?.state { amqp_maybe_release_buffers(state) }
    }
    if let deadline = ledger.deadline, handle != nil, ContinuousClock.now > deadline {
      giveUp(RabbitMQError(.timeout, "no confirm within \(configuration.confirmTimeout)"))
    }
  }

  private func handle(_ incoming: Incoming) {
    switch incoming {
    case .delivery(let delivery): consumers[delivery.consumerTag]?.yield(delivery)
    case .confirm(let tag, let multiple, let accepted): settle(tag, multiple: multiple, accepted: accepted)
    case .returned(let messageID, let reply, let text):
      if let messageID { ledger.returned(messageID: messageID, reply: reply, text: text) }
    case .consumerCancelled(let tag):
      let error = RabbitMQError(.consumerCancelled, "the broker cancelled consumer \(tag)")
      consumers.removeValue(forKey: tag)?.finish(throwing: error)
    case .blocked: isBlocked = true
    case .unblocked: isBlocked = false
    case .closed(let error): giveUp(error)
    }
  }
}
