import EventLoop
import Testing

@Suite("Wakeup")
struct WakeupTests {
  private let wakeup = Wakeup()

  /// Returns whether a wait for a long time ends before one of another wakeup for a short time.
  private func endsEarly(before milliseconds: Int) async -> Bool {
    await withTaskGroup(of: Bool.self) { group in
      group.addTask { [wakeup] in
        await wakeup.wait(upTo: .seconds(600))
        return true
      }
      group.addTask {
        await Wakeup().wait(upTo: .milliseconds(milliseconds))
        return false
      }
      defer { group.cancelAll() }
      return await group.next() ?? true
    }
  }

  @Test("A wait ends by a signal, also by one from before it, and takes it")
  func signals() async {
    wakeup.signal()
    wakeup.signal()
    await wakeup.wait(upTo: .seconds(600))
    async let waiting: Void = wakeup.wait(upTo: .seconds(600))
    wakeup.signal()
    await waiting
    // Nothing is left of the signals.
    #expect(await !endsEarly(before: 50))
  }

  @Test("A wait ends at its time, after waits that were to be longer or shorter, in any order")
  func times() async {
    for milliseconds in [30, 0, 600_000, 10, 20, 600_000, 1, 40, -1, 5] {
      // What ends the long ones.
      if milliseconds > 1_000 { wakeup.signal() }
      await wakeup.wait(upTo: .milliseconds(milliseconds))
    }
    await withTaskGroup(of: Void.self) { group in
      for number in 0..<200 { group.addTask { await Wakeup().wait(upTo: .milliseconds(number % 50)) } }
    }
    #expect(await !endsEarly(before: 20))
  }

  @Test("The time of a wait that a signal ended does not end a later one")
  func leftover() async {
    wakeup.signal()
    await wakeup.wait(upTo: .milliseconds(30))
    async let second: Void = wakeup.wait(upTo: .milliseconds(30))
    wakeup.signal()
    await second
    #expect(await !endsEarly(before: 100))
  }

  @Test("Cancellation ends a wait, before it and during it")
  func cancellation() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { [wakeup] in await wakeup.wait(upTo: .seconds(600)) }
      await Wakeup().wait(upTo: .milliseconds(10))
      group.cancelAll()
      await group.waitForAll()
      group.addTask { await Wakeup().wait(upTo: .seconds(600)) }
    }
  }
}
