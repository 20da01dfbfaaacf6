import Glibc

/// Nanoseconds of the monotonic clock.
typealias Nanoseconds = UInt64

enum Clock {
  static var now: Nanoseconds {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

extension Nanoseconds {
  static func seconds(_ seconds: Double) -> Nanoseconds { UInt64(Swift.max(0, seconds) * 1e9) }
  var inSeconds: Double { Double(self) / 1e9 }
}
