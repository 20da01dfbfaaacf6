import Failures
import JSON
import SMTP
import TestSupport
import Testing

@Suite("Sending mail", .tags(.integration, .system), .needsServers, .whenThereIsRoom)
struct SMTPClientTests {
  private let content = Mail.Content(
    subject: "Größe 42 – «shipped» 📦, in a subject whose encoded words take more than one line",
    text: "Grüße\n.\n..two dots\n\nFrom here on " + String(repeating: "a long line ", count: 200)
      + "\nspaces at the end  \n",
    html: "<p>Grüße &amp; <b>=3D</b></p>\n.\n")

  private func mail(to local: String = "ada", key: String = "reaction/mails/1") throws -> Mail {
    try Mail(
      key: key, from: Mailbox(name: "Shop, Ltd.", address: "shop@example.org"),
      to: Mailbox(name: "Åda \"L\" <x>", address: "\(local)@example.org"), content: content, date: 1_795_808_859)
  }

  /// A client that waits long enough on a busy machine.
  private func patientClient(_ server: SMTPServer, send: Duration = .seconds(120)) throws -> SMTPClient {
    try SMTPClient(server, limits: .init(connect: .seconds(60), send: send))
  }

  private func failure(_ client: SMTPClient, to local: String = "ada") async throws -> SMTPError? {
    let mail = try mail(to: local)
    do {
      try await client.send(mail)
      return nil
    } catch {
      #expect(!"\(error)".contains("example.org") && !"\(error)".contains(TestMailServer.password))
      return error
    }
  }

  @Test(
    "Mails arrive as they were written, encrypted and after a login, all over one connection",
    arguments: [TestMailServer.Mode.starttls, .smtps])
  func delivery(mode: TestMailServer.Mode) async throws {
    let server = try await TestMailServer(mode)
    let client = try patientClient(server.address())
    try await client.send(mail())
    try await client.send(mail(to: "grace", key: "reaction/mails/2 ü"))
    #expect(server.mails.count == 2)
    for delivered in server.mails {
      #expect(delivered["sender"] == "shop@example.org" && delivered["user"] == .string(TestMailServer.user))
      #expect(delivered["isEncrypted"] == true && delivered["connection"] == server.mails[0]["connection"])
      let mail = try #require(delivered["mail"])
      #expect(mail["subject"]?.string == content.subject)
      #expect(mail["text"]?.string == content.text && mail["html"]?.string == content.html)
      #expect(mail["from"]?["name"] == "Shop, Ltd." && mail["from"]?["address"] == "shop@example.org")
      #expect(mail["to"]?["name"] == "Åda \"L\" <x>" && mail["to"]?["address"] == delivered["recipient"])
      #expect(mail["date"]?.integer == 1_795_808_859 && mail["autoSubmitted"] == "auto-generated")
      #expect(mail["type"] == "multipart/alternative" && mail["defects"] == .array([]))
    }
    #expect(server.mails.map { $0["recipient"]?.string } == ["ada@example.org", "grace@example.org"])
    #expect(
      server.mails.map { $0["mail"]?["messageID"]?.string }
        == ["<reaction/mails/1@example.org>", "<reaction/mails/2=20=C3=BC@example.org>"])
  }

  @Test("A connection that the server has closed meanwhile is replaced")
  func closedConnection() async throws {
    let server = try await TestMailServer(.impatient)
    let client = try patientClient(server.address(trusted: false))
    try await client.send(mail())
    try await eventually("the server closes the connection") { server.events.contains { $0["closed"] != nil } }
    try await client.send(mail())
    #expect(server.mails.count == 2 && server.mails[0]["connection"] != server.mails[1]["connection"])
  }

  @Test("The connection ends when nobody refers to the client any more")
  func release() async throws {
    let server = try await TestMailServer(.starttls)
    try await patientClient(server.address()).send(mail())
    try await eventually("the connection ends") { server.events.contains { $0["closed"] != nil } }
  }

  @Test("A refused login needs a person, and the error names neither the user nor the password")
  func wrongPassword() async throws {
    let server = try await TestMailServer(.starttls)
    let error = try await failure(patientClient(server.address(password: "wrong-password")))
    #expect(error?.code == .clientRefused(reply: 535) && error?.failureKind == .programmingError)
    #expect(error.map { !"\($0)".contains("wrong-password") && !"\($0)".contains(TestMailServer.user) } == true)
    let missing = try await failure(patientClient(server.address(user: nil)))
    #expect(missing?.code == .clientRefused(reply: 530) && missing?.failureKind == .programmingError)
    #expect(server.mails.isEmpty)
  }

  @Test(
    "A reply of 4xx is worth another attempt, one of 5xx is not, and the next mail is sent",
    arguments: [("rcpt-451", .retry), ("rcpt-550", .refused), ("data-452", .retry), ("data-554", .refused)]
      as [(String, FailureKind)])
  func replies(recipient: String, kind: FailureKind) async throws {
    let server = try await TestMailServer(.starttls)
    let client = try patientClient(server.address())
    let error = try await failure(client, to: recipient)
    #expect(error?.code == .refused(reply: Int(recipient.suffix(3))!) && error?.failureKind == kind)
    try await client.send(mail())
    #expect(server.mails.count == 1)
  }

  @Test("A server that does not answer, before or after it has the message, is given up after the time limit")
  func hanging() async throws {
    let server = try await TestMailServer(.starttls)
    let impatient = try patientClient(server.address(), send: .seconds(2))
    let late = try await failure(impatient, to: "hang")
    #expect(late?.code == .timeout && late?.failureKind == .retry)
    let silent = try await TestMailServer(.silent)
    let connecting = try SMTPClient(silent.address(trusted: false), limits: .init(connect: .seconds(1)))
    let early = try await failure(connecting)
    #expect(early?.code == .timeout && early?.failureKind == .retry)
  }

  @Test("Cancelling the task ends the transfer, and the client sends the next mail")
  func cancellation() async throws {
    let server = try await TestMailServer(.starttls)
    let client = try patientClient(server.address())
    let mail = try mail(to: "hang")
    let sending = Task { try await client.send(mail) }
    try await eventually("the server has the message") { server.events.contains { $0["hangs"] == true } }
    sending.cancel()
    await #expect { try await sending.value } throws: { ($0 as? SMTPError)?.code == .cancelled }
    try await client.send(self.mail())
    #expect(server.mails.count == 1)
  }

  @Test("A password never goes to a server without STARTTLS, except on this machine's loopback")
  func plaintext() async throws {
    let server = try await TestMailServer(.plain)
    // 0.0.0.0 reaches the same server, and its name is not that of the loopback.
    for address in [try server.address(host: "0.0.0.0", trusted: false), try server.address()] {
      let error = try await failure(patientClient(address))
      #expect(error?.code == .insecure && error?.failureKind == .programmingError)
    }
    #expect(!server.events.contains { $0["login"] != nil })
    try await patientClient(server.address(user: nil, host: "0.0.0.0", trusted: false)).send(mail())
    try await patientClient(server.address(trusted: false)).send(mail())
    #expect(server.mails.map { $0["user"] } == [.null, .string(TestMailServer.user)])
  }

  @Test("Nothing goes to a server whose certificate is not trusted, or is for another host")
  func certificates() async throws {
    let server = try await TestMailServer(.smtps)
    let unreadable = try SMTPServer(url: "smtps://127.0.0.1:\(server.port)?cacertfile=/nowhere")
    for address in [try server.address(trusted: false), try server.address(host: "localhost"), unreadable] {
      let error = try await failure(patientClient(address))
      #expect(error?.code == .insecure && error?.failureKind == .programmingError)
    }
    #expect(!server.events.contains { $0["login"] != nil })
  }

  @Test("A server that is away is tried again, and one that refuses to talk needs a person")
  func refusal() async throws {
    let unwilling = try await TestMailServer(.unwilling)
    let error = try await failure(patientClient(unwilling.address(trusted: false)))
    #expect(error?.code == .clientRefused(reply: 554) && error?.failureKind == .programmingError)
    // Nothing listens on port 1.
    let away = try await failure(patientClient(SMTPServer(url: "smtp://127.0.0.1:1")))
    #expect(away?.code == .connectionFailed && away?.failureKind == .retry)
  }
}
