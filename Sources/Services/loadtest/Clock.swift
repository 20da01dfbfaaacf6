import CLinux

/// Nanoseconds of the monotonic clock.
typealias Nanoseconds = UInt64

enum Clock {
  static var now: Nanoseconds { UInt64(clinux_monotonic_nanoseconds()) }
}

extension Nanoseconds {
  static func seconds(_ seconds: Double) -> Nanoseconds { UInt64(Swift.max(0, seconds) * 1e9) }
  var inSeconds: Double { Double(self) / 1e9 }
}
