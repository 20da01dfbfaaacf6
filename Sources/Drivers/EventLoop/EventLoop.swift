import Glibc
import Synchronization

/// A thread that runs the jobs of one actor and, between them, watches one file descriptor.
///
/// libpq and librabbitmq connections belong to one thread at a time and block in system calls. An actor whose
/// `unownedExecutor` is an `EventLoop` may block without taking a thread from Swift's cooperative pool. The compiler
/// checks that nothing else touches the connection. An idle loop sleeps in `poll`, and a readable socket wakes it at
/// once: that is how notifications, deliveries and heartbeats arrive.
///
/// The owner calls `stop()` when it is done, usually in its `deinit`; the thread then ends by itself.
package final class EventLoop: SerialExecutor {
  private struct Watch {
    var descriptor: Int32
    var interval: Duration
    var handler: @Sendable () -> Void
  }

  private struct State {
    var jobs: [UnownedJob] = []
    var watch: Watch?
    var isAsleep = false
    var isStopped = false
    var thread: pthread_t?
  }

  private let state = Mutex(State())
  /// A pipe; a byte written to it ends the sleep.
  private let wakeReader: Int32
  private let wakeWriter: Int32

  /// - Throws: `EventLoopError` if the process may open no more files or threads.
  package init() throws(EventLoopError) {
    var ends: [Int32] = [-1, -1]
    let opened = pipe(&ends)
    let reason = errno
    (wakeReader, wakeWriter) = (ends[0], ends[1])
    guard opened == 0 else { throw EventLoopError(operation: "pipe", code: reason) }
    for end in ends {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(self)
    let result = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<EventLoop>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard result == 0 else {
      retained.release()
      throw EventLoopError(operation: "pthread_create", code: result)
    }
    pthread_detach(thread)
  }

  deinit {
    for end in [wakeReader, wakeWriter] where end >= 0 { close(end) }
  }

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    // The job may run, and release its actor and this loop, before `wake()` below.
    let retained = Unmanaged.passRetained(self)
    defer { retained.release() }
    let mustWake = state.withLock { state in
      state.jobs.append(job)
      defer { state.isAsleep = false }
      return state.isAsleep
    }
    if mustWake { wake() }
  }

  package func checkIsolated() {
    precondition(isCurrent, "called from outside the event loop's thread")
  }

  package func isIsolatingCurrentContext() -> Bool? { isCurrent }

  /// Calls `handler` on the loop's thread whenever `descriptor` is readable or hung up, and at least every `interval`
  /// while idle. Only one descriptor is watched: a new call replaces it.
  package func watch(_ descriptor: Int32, every interval: Duration, _ handler: @escaping @Sendable () -> Void) {
    state.withLock { $0.watch = Watch(descriptor: descriptor, interval: interval, handler: handler) }
    wake()
  }

  package func unwatch() { state.withLock { $0.watch = nil } }

  /// Ends the thread after the queued jobs have run.
  package func stop() {
    state.withLock {
      $0.isStopped = true
      $0.watch = nil
    }
    wake()
  }

  private var isCurrent: Bool {
    state.withLock { $0.thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
  }

  private func wake() {
    var byte: UInt8 = 1
    // If the pipe is full, the thread wakes anyway.
    _ = write(wakeWriter, &byte, 1)
  }

  private func run() {
    state.withLock { $0.thread = pthread_self() }
    while true {
      let (jobs, watch, isStopped) = state.withLock { state in
        let taken = (state.jobs, state.watch, state.isStopped)
        state.jobs = []
        state.isAsleep = taken.0.isEmpty
        return taken
      }
      for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
      if jobs.isEmpty && isStopped { return }
      // After jobs, check the socket without waiting, so that jobs and socket do not starve each other.
      if jobs.isEmpty || watch != nil { sleep(watch, blocking: jobs.isEmpty) }
    }
  }

  private func sleep(_ watch: Watch?, blocking: Bool) {
    var descriptors = [pollfd(fd: wakeReader, events: Int16(POLLIN), revents: 0)]
    if let watch { descriptors.append(pollfd(fd: watch.descriptor, events: Int16(POLLIN), revents: 0)) }
    let timeout = blocking ? watch.map { $0.interval.milliseconds } ?? -1 : 0
    let ready = poll(&descriptors, nfds_t(descriptors.count), timeout)
    if descriptors[0].revents != 0 {
      var bytes: UInt64 = 0
      while read(wakeReader, &bytes, 8) == 8 {}
    }
    state.withLock { $0.isAsleep = false }
    guard let watch else { return }
    let isStillWatched = state.withLock { $0.watch?.descriptor == watch.descriptor }
    if isStillWatched && (descriptors[1].revents != 0 || (blocking && ready == 0)) { watch.handler() }
  }
}

/// The operating system allows this process no more files or threads.
package struct EventLoopError: Error, CustomStringConvertible {
  let operation: String
  let code: Int32
  package var description: String { "\(operation): \(String(cString: strerror(code)))" }
}

extension Duration {
  /// The duration in whole milliseconds, rounded up, from 0 to `Int32.max`, as `poll` takes it.
  package var milliseconds: Int32 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let milliseconds = seconds.multipliedReportingOverflow(by: 1000)
    let rounded = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    guard !milliseconds.overflow, milliseconds.partialValue < Int64(Int32.max) - rounded else { return .max }
    return Int32(milliseconds.partialValue + rounded)
  }
}
