internal import EventSourcing
internal import Machine

/// The clients of a world. They send commands, repeat them when they get no answer, and read what they have written.
struct Clients: Sendable {
  private let world: World

  init(_ world: World) { self.world = world }

  /// Sends a command to each process that takes commands, and reads it at each that answers queries, once faults have ended.
  func lookOnceMore() async {
    let client = Client("last", world)
    for process in world.processes(.command) {
      let (id, account) = ("last-\(process.name)", world.accounts[0])
      let command = Addressed(Deposit(amount: 1, command: id), to: account)
      guard let answer = await client.send(command, id, [account], repeating: 20, to: process) else {
        world.record.violate("\(process.name) carries no command out")
        continue
      }
      for process in world.processes(.query) {
        var isAnswered = false
        for _ in 0..<10 where !isAnswered {
          isAnswered = await client.look(at: account, after: answer, in: process)
          if !isAnswered { try? await Machine.sleep(for: .seconds(1)) }
        }
        if !isAnswered { world.record.violate("\(process.name) does not show \(id)") }
      }
    }
  }

  func run(until end: Duration) async {
    for account in world.accounts {
      _ = await Client("opening-\(account)", world).send(
        Addressed(Open(), to: account), "open-\(account)", [account], repeating: 60)
    }
    await withDiscardingTaskGroup { group in
      for number in 0..<world.plan.clients {
        group.addTask { await Client("c\(number)", world).run(until: end) }
      }
    }
  }
}
