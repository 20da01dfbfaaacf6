import Foundation
import Glibc
import Histogram
import Observability

/// When requests are due.
enum Schedule: Sendable {
  /// A rate in requests per second that changes evenly from the first to the last number.
  case open(from: Double, to: Double)
  /// Each connection sends its next request as soon as it is free.
  case closed

  /// Returns when an arrival is due, in seconds from the beginning.
  /// - Parameter length: the length of the ramp in seconds. After it, the last rate continues.
  func time(of arrival: Int, length: Double) -> Double? {
    guard case .open(let first, let last) = self else { return nil }
    let number = Double(arrival)
    // By the time t there are first·t + (last − first)·t²/(2·length) arrivals.
    let slope = (last - first) / length
    let inRamp = (first + last) / 2 * length
    guard number < inRamp else { return last > 0 ? length + (number - inRamp) / last : nil }
    guard abs(slope) > 1e-9 else { return number / first }
    return (-first + (first * first + 2 * slope * number).squareRoot()) / slope
  }
}

/// One run of one workload: sends its requests when they are due, and collects the results.
final class Trial: Traffic {
  struct Settings: Sendable {
    var schedule: Schedule
    /// Seconds before the measurement, and seconds of the measurement.
    var warmUp: Double
    var duration: Double
    var timeout: Double
    /// The number of writes per second whose visibility is measured.
    var visibility: Double
    var connections: Int
  }

  private let workload: any Workload
  private let settings: Settings
  private let format: RequestFormat
  /// The request for the projections' lag.
  private let probe: [UInt8]
  private let progress: (SecondResult, Bool) -> Void
  private let isInterrupted: () -> Bool

  private var start: Nanoseconds = 0
  private var measured: Range<Nanoseconds> = 0..<1
  private var end: Nanoseconds = 0
  private var arrivals = 0
  private var due: Nanoseconds?
  private var outstanding = 0
  private var nextProbe: Nanoseconds = 0
  private var nextLook: Nanoseconds = 0
  private var cpu = 0.0

  private struct Tally {
    var histogram = Histogram<UInt64>.ofLatencies
    var errors: [String: Int] = [:]
  }

  private var tallies: [String: Tally] = [:]
  private var total = Histogram<UInt64>.ofLatencies
  private var visible = Histogram<UInt64>.ofLatencies
  private var errorCount = 0
  /// Measured requests that need a response; and responses, and completed journeys, before the end.
  private var expected = 0
  private var answeredInTime = 0
  private var completedInTime = 0
  private var timeline: [SecondResult] = []

  // The current second.
  private var second = Int.min
  private var latest = Histogram<UInt64>.ofLatencies
  private var offered = 0
  private var failures = 0
  private var lag: (seconds: Double?, positions: Double?) = (nil, nil)

  private static let visibility = "visibility"
  private static let lagProbe = "probe"

  /// - Parameter progress: gets each second when it is over, and whether the second is measured.
  init(
    _ workload: any Workload, _ settings: Settings, format: RequestFormat, probe: [UInt8],
    isInterrupted: @escaping () -> Bool, progress: @escaping (SecondResult, Bool) -> Void
  ) {
    (self.workload, self.settings, self.format, self.probe) = (workload, settings, format, probe)
    (self.isInterrupted, self.progress) = (isInterrupted, progress)
  }

  func run(on driver: Driver) -> TrialResult {
    start = Clock.now + .seconds(0.2)
    measured = (start + .seconds(settings.warmUp))..<(start + .seconds(settings.warmUp + settings.duration))
    end = measured.upperBound
    due = arrival(0)
    cpu = Self.processorTime
    let began = Clock.now
    driver.run(self)
    let cores = (Self.processorTime - cpu) / (Clock.now - began).inSeconds
    // Requests without a response or an error by now are lost.
    let lost = expected - Int(total.totalCount) - errorCount
    if lost > 0 {
      tallies["unfinished", default: Tally()].errors["no response before the end", default: 0] += lost
      errorCount += lost
    }
    let last = min(end, measured.upperBound)
    let seconds = max(0.001, Double(Int64(last) - Int64(measured.lowerBound)) / 1e9)
    let offered: Double? = if case .open(let first, let last) = settings.schedule { (first + last) / 2 } else { nil }
    return TrialResult(
      profile: workload.name, loop: offered == nil ? "closed" : "open", offeredPerSecond: offered, seconds: seconds,
      connections: settings.connections, answeredPerSecond: Double(answeredInTime) / seconds,
      completedPerSecond: Double(completedInTime) / seconds, errors: errorCount,
      latency: Latency(total),
      operations: tallies.sorted { $0.key < $1.key }.map {
        OperationResult(name: $0.key, latency: Latency($0.value.histogram), errors: $0.value.errors)
      },
      visibility: Latency(visible), timeline: timeline, ownCores: cores)
  }

  private static var processorTime: Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  // MARK: Schedule
  private func arrival(_ number: Int) -> Nanoseconds? {
    // The warm-up uses the first rate.
    guard case .open(let first, _) = settings.schedule else { return nil }
    let before = first * settings.warmUp
    let offset =
      Double(number) < before
      ? Double(number) / first
      : settings.schedule.time(of: number - Int(before), length: settings.duration).map { settings.warmUp + $0 }
    guard let offset else { return nil }
    let time = start + .seconds(offset)
    return time < measured.upperBound ? time : nil
  }

  func nextArrival() -> Nanoseconds? { due }

  func arrive() -> Request? {
    guard let time = due else { return nil }
    arrivals += 1
    due = isInterrupted() ? nil : arrival(arrivals)
    return begin(at: time)
  }

  func idle(_ side: Side, at now: Nanoseconds) -> Request? {
    guard case .closed = settings.schedule, now >= start, now < end, side == workload.side else { return nil }
    return begin(at: now)
  }

  private func begin(at time: Nanoseconds) -> Request {
    var request = workload.begin()
    (request.intended, request.began) = (time, time)
    outstanding += 1
    offered += 1
    if isMeasured(request) { expected += 1 }
    return request
  }

  func tick(at now: Nanoseconds) {
    if isInterrupted(), now < end { (end, due) = (now, nil) }
    // Measured seconds count from 0. Seconds of the warm-up are negative.
    let current = Int((Double(Int64(now) - Int64(measured.lowerBound)) / 1e9).rounded(.down))
    if now >= start, current != second { close(second: current) }
  }

  func isFinished(at now: Nanoseconds) -> Bool {
    // Requests that are due but not sent still belong to the trial, even if this process is late.
    now >= end && due == nil && (outstanding == 0 || now >= end + .seconds(isInterrupted() ? 1 : settings.timeout + 1))
  }

  // MARK: Responses
  func answered(_ request: Request, _ response: Response, at now: Nanoseconds) -> [Request] {
    outstanding -= 1
    switch request.subject {
    case Self.lagProbe:
      lag = Self.lag(response.body)
      return []
    case Self.visibility:
      if response.isSuccess, isMeasured(request) { visible.record((now - request.began) / 1000) }
      return []
    default: break
    }
    guard response.isSuccess else {
      fail(request, response.error)
      return watch(nil, response, now)
    }
    record(request, now)
    var following: [Request] = []
    if var next = workload.next(after: request, response) {
      (next.intended, next.began) = (now, request.began)
      outstanding += 1
      if isMeasured(next) { expected += 1 }
      following.append(next)
    } else {
      if isMeasured(request), now < end { completedInTime += 1 }
      if let journey = workload.journey, request.step > 0, isMeasured(request) {
        tallies[journey, default: Tally()].histogram.record((now - request.began) / 1000)
      }
    }
    return following + watch(request, response, now)
  }

  func failed(_ request: Request, _ reason: String, at now: Nanoseconds) {
    outstanding -= 1
    if request.operation != nil { fail(request, reason) }
  }

  private func isMeasured(_ request: Request) -> Bool { measured.contains(request.began) }

  private func record(_ request: Request, _ now: Nanoseconds) {
    let microseconds = (now - min(now, request.intended)) / 1000
    latest.record(microseconds)
    guard let operation = request.operation, isMeasured(request) else { return }
    total.record(microseconds)
    if now < end { answeredInTime += 1 }
    tallies[operation, default: Tally()].histogram.record(microseconds)
  }

  private func fail(_ request: Request, _ reason: String) {
    failures += 1
    guard let operation = request.operation, isMeasured(request) else { return }
    errorCount += 1
    tallies[operation, default: Tally()].errors[reason, default: 0] += 1
  }

  /// Returns extra requests that measure how soon a write is visible, and how far the projections are behind.
  private func watch(_ request: Request?, _ response: Response, _ now: Nanoseconds) -> [Request] {
    var looks: [Request] = []
    if now >= nextProbe, now < end {
      nextProbe = now + .seconds(1)
      looks.append(Request(side: .probe, bytes: probe, operation: nil, subject: Self.lagProbe, intended: now))
    }
    if settings.visibility > 0, let request, let token = response.consistencyToken, now >= nextLook, now < end,
      let path = workload.pathOfWhatWasWritten(by: request)
    {
      nextLook = max(nextLook, now - .seconds(1)) + .seconds(1 / settings.visibility)
      looks.append(
        Request(
          side: .watch, bytes: format.get(path, consistencyToken: token), operation: nil, subject: Self.visibility,
          intended: now, began: now))
    }
    outstanding += looks.count
    return looks
  }

  // MARK: Timeline
  private func close(second next: Int) {
    let isMeasuredSecond = second >= 0
    // After the end, reports only seconds with responses or failures.
    let isOver = second > Int.min && measured.lowerBound + .seconds(Double(max(0, second))) >= end
    if second > Int.min, !isOver || latest.totalCount > 0 || failures > 0 {
      let latency = Latency(latest)
      let result = SecondResult(
        second: second, offered: offered, answered: Int(latest.totalCount),
        errors: failures, p50: latency?.p50, p99: latency?.p99, max: latency?.max, lagSeconds: lag.seconds,
        lagPositions: lag.positions)
      if isMeasuredSecond { timeline.append(result) }
      progress(result, isMeasuredSecond)
    }
    second = next
    latest.reset()
    (offered, failures) = (0, 0)
  }

  /// Returns the lag of the read model that is furthest behind, from query-service's metrics.
  static func lag(_ body: ArraySlice<UInt8>) -> (seconds: Double?, positions: Double?) {
    let samples = Exposition(String(decoding: body, as: UTF8.self)).samples
    func highest(_ name: String) -> Double? { samples.filter { $0.name == name }.map(\.value).max() }
    return (highest("counterflow_read_model_lag_seconds"), highest("counterflow_read_model_lag_positions"))
  }
}
