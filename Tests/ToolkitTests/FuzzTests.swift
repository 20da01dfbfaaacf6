import EventSourcing
import Foundation
import JSON
import RabbitMQFeed
import TestSupport
import Testing

@Suite("Fuzzing")
struct FuzzTests {
  private static let texts = [
    #"{"orderId":"o-1","lines":[{"sku":"LANTERN","quantity":2,"unitPrice":1e2}],"placedAt":"2026-11-21T09:30:00Z"}"#,
    #"[0,-0,1.5,-1.5E-1,9223372036854775807,"\u00e9\n\"\\\/\ud83c\udf81",null,true,false,{},[],{"a":{"b":[[]]}}]"#,
    #"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16,"q":17}"#,
  ].map { Array($0.utf8) }

  @Test("Parsed JSON survives a round trip, and a parse error has a valid offset and a message")
  func json() {
    var fuzzer = Fuzzer(1)
    var taken = 0
    for _ in 0..<Fuzzer.count {
      let bytes = fuzzer.bytes(like: Self.texts)
      do throws(JSONError) {
        let value = try JSON(parsing: bytes)
        taken += 1
        let written = value.encoded
        if try JSON(parsing: written) != value { Issue.record("\(bytes) with FUZZ_SEED=\(Fuzzer.seed)") }
      } catch {
        if !(0...bytes.count).contains(error.offset) || error.message.isEmpty {
          Issue.record("\(bytes): \(error) with FUZZ_SEED=\(Fuzzer.seed)")
        }
      }
    }
    // Otherwise only invalid inputs were tried.
    #expect(taken > Fuzzer.count / 100 && taken < Fuzzer.count)
  }

  private static func message(_ random: inout SplitMix) -> FeedMessage {
    let partitioning = Partitioning(count: [1, 4, 64].randomElement(using: &random)!)!
    let historyID = UUID()
    let partitions = partitioning.partitions.shuffled(using: &random).prefix(.random(in: 1...3, using: &random))
    return FeedMessage(partitions.sorted().map { batch(historyID, $0, &random) })
  }

  private static func batch(_ historyID: UUID, _ partition: Partition, _ random: inout SplitMix) -> FeedBatch {
    let names = ["thing-a", "order-ü", "a-" + String(repeating: "x", count: 253)]
    let events = (0..<Int.random(in: 1...3, using: &random)).map { index in
      let stream = StreamID(rawValue: names.randomElement(using: &random)!)
      return RecordedEvent(
        position: Position(Int64(index + 8)), stream: stream, version: Version(1), hash: stream.hash, id: UUID(),
        type: "Happened", schemaVersion: 1, data: Array(#"{"a":1}"#.utf8),
        metadata: Array(repeating: 0x20, count: Int.random(in: 0...20, using: &random)),
        recordedAt: Timestamp(microsecondsSince1970: .random(in: 0...4_000_000_000_000_000, using: &random)))
    }
    return FeedBatch(
      historyID: historyID, partition: partition,
      previous: .init(position: Position(7), eventID: Bool.random(using: &random) ? UUID() : nil), events: events)
  }

  @Test("A feed message survives a round trip, and damaged bytes give another message or an error")
  func feed() {
    var fuzzer = Fuzzer(2)
    var taken = 0
    for _ in 0..<Fuzzer.count {
      let message = Self.message(&fuzzer.random)
      do throws(FeedDecodingError) {
        if try FeedMessage.decode(message.encoded) != message {
          Issue.record("\(message) with FUZZ_SEED=\(Fuzzer.seed)")
        }
      } catch { Issue.record("\(message): \(error) with FUZZ_SEED=\(Fuzzer.seed)") }
      let bytes = fuzzer.bytes(like: [message.encoded])
      do throws(FeedDecodingError) {
        guard let read = try FeedMessage.decode(bytes) else {
          Issue.record("\(bytes) with FUZZ_SEED=\(Fuzzer.seed)")
          continue
        }
        taken += 1
        // As a projector reads it, wherever the damage is.
        for event in read.batches.flatMap(\.events) {
          _ = (event.stream.category, event.stream.id, event.recordedAt.description)
        }
        if try FeedMessage.decode(read.encoded) != read { Issue.record("\(bytes) with FUZZ_SEED=\(Fuzzer.seed)") }
      } catch {
        if error.reason.isEmpty { Issue.record("\(bytes) with FUZZ_SEED=\(Fuzzer.seed)") }
      }
    }
    #expect(taken > Fuzzer.count / 100 && taken < Fuzzer.count)
  }
}
