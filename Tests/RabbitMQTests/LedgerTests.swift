import TestSupport
import Testing

@testable import RabbitMQ

@Suite("Confirm ledger")
struct LedgerTests {
  @Test("A batch completes with its last message, in any order and grouping of confirms", arguments: 0..<50)
  func anyOrder(seed: UInt64) {
    var random = SplitMix(state: seed)
    var ledger = ConfirmLedger()
    let sizes = (0..<20).map { _ in Int.random(in: 1...8, using: &random) }
    for (batch, size) in sizes.enumerated() {
      ledger.open(
        batch: batch, sizes: Array(repeating: 10, count: size),
        messageIDs: (0..<size).map { "\(batch).\($0)" }, deadline: .now)
    }
    let total = UInt64(sizes.reduce(0, +))
    var unsettled = Set(1...total)
    var nacked: Set<UInt64> = []
    var complete: [Int: [PublishOutcome]] = [:]
    while let tag = unsettled.randomElement(using: &random) {
      let multiple = Bool.random(using: &random)
      let accepted = Int.random(in: 0..<4, using: &random) > 0
      let settled = multiple ? unsettled.filter { $0 <= tag } : [tag]
      if !accepted { nacked.formUnion(settled) }
      unsettled.subtract(settled)
      for (batch, confirmations) in ledger.settle(tag, multiple: multiple, accepted: accepted) {
        #expect(complete[batch] == nil)
        complete[batch] = confirmations
      }
    }
    #expect(complete.count == sizes.count)
    #expect(ledger.bytesInFlight == 0)
    #expect(ledger.deadline == nil)
    var tag: UInt64 = 1
    for (batch, size) in sizes.enumerated() {
      for slot in 0..<size {
        #expect(complete[batch]?[slot] == (nacked.contains(tag) ? .refused : .accepted))
        tag += 1
      }
    }
  }

  @Test("A returned message is found by its id, and repeated confirms count once")
  func returned() {
    var ledger = ConfirmLedger()
    ledger.open(batch: 1, sizes: [1, 1], messageIDs: ["a", "b"], deadline: .now)
    ledger.returned(messageID: "b", reply: 312, text: "NO_ROUTE")
    ledger.returned(messageID: "unknown", reply: 312, text: "NO_ROUTE")
    #expect(ledger.settle(1, multiple: false, accepted: true).isEmpty)
    #expect(ledger.settle(1, multiple: false, accepted: true).isEmpty)
    let complete = ledger.settle(2, multiple: true, accepted: true)
    #expect(complete.map(\.1) == [[.accepted, .returned(reply: 312, text: "NO_ROUTE")]])
    #expect(ledger.settle(99, multiple: false, accepted: true).isEmpty)
  }
}
