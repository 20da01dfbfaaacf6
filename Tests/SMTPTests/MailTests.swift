import Failures
import Foundation
import JSON
import TestSupport
import Testing

@testable import SMTP

@Suite("Mails")
struct MailTests {
  private func mail(
    key: String = "k", subject: String = "s", text: String = "t", html: String = "<p>h</p>", name: String? = nil,
    date: Int64 = 0
  ) throws(SMTPError) -> Mail {
    try Mail(
      key: key, from: Mailbox(name: name, address: "shop@example.org"), to: Mailbox(address: "ada@example.org"),
      content: .init(subject: subject, text: text, html: html), date: date)
  }

  private func isInvalid(_ make: () throws -> Any) -> Bool {
    do { _ = try make() } catch { return (error as? SMTPError)?.code == .invalidMail && FailureKind(error) == .refused }
    return false
  }

  @Test("A plain mail is readable as it is sent")
  func plain() throws {
    let sent = try mail(subject: "Your order order-1", text: "Hello\nlittle = world \n", date: 1_795_808_859).message
    #expect(
      String(decoding: sent, as: UTF8.self)
        == """
        Date: Fri, 27 Nov 2026 19:47:39 +0000
        From: <shop@example.org>
        To: <ada@example.org>
        Subject: Your order order-1
        Message-ID: <k@example.org>
        MIME-Version: 1.0
        Auto-Submitted: auto-generated
        Content-Type: multipart/alternative; boundary="=_alternative"

        --=_alternative
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        Hello
        little =3D world=20

        --=_alternative
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: quoted-printable

        <p>h</p>
        --=_alternative--

        """.replacing("\n", with: "\r\n"))
  }

  @Test(
    "A line break or another control character is rejected in every header",
    arguments: ["a\r\nBcc: x@example.org", "a\nb", "a\rb", "a\0b", "a\u{7F}", "a\u{85}b"])
  func injection(text: String) throws {
    #expect(isInvalid { try mail(subject: text) })
    #expect(isInvalid { try mail(name: text) })
    #expect(isInvalid { try Mailbox(address: "\(text)@example.org") })
    #expect(isInvalid { try Mailbox(address: "ada@\(text)") })
    #expect(try !mail(key: text).messageID.contains { $0.isNewline || $0 == "\0" })
  }

  @Test(
    "An address that is not a plain one of ASCII is rejected",
    arguments: [
      "", "ada", "@example.org", "ada@", "a@b@c", "a b@example.org", "<ada@example.org>", "ada@example..org",
      ".ada@example.org", "ada.@example.org", "ada@[127.0.0.1]", "\"a\"@example.org", "åda@example.org",
      "ada@exämple.org",
      "a,b@example.org", String(repeating: "a", count: 65) + "@example.org",
      "ada@" + String(repeating: "a.", count: 126) + "org",
    ])
  func addresses(address: String) {
    #expect(isInvalid { try Mailbox(address: address) })
  }

  @Test("Usual addresses are accepted, and descriptions do not contain them")
  func descriptions() throws {
    for address in ["ada@example.org", "ada.l+shop=1@mail.example.org", "o'hara@localhost", "a/b@1-2.example"] {
      #expect(try Mailbox(address: address).address == address)
    }
    let mail = try mail()
    #expect(
      "\(mail)" == "<k@example.org>" && !"\(mail.to)".contains("ada") && !String(reflecting: mail).contains("ada"))
  }

  @Test("A key is 1 to 200 bytes, and different keys give different Message-IDs")
  func keys() throws {
    for key in ["", String(repeating: "k", count: 201)] {
      #expect(isInvalid { try mail(key: key) })
    }
    let keys = ["a", "A", "a.b", "a=2Eb", "a b", "a@b", "ü", "u\u{308}", String(repeating: "ü", count: 100)]
    let messageIDs = try keys.map { try mail(key: $0).messageID }
    #expect(Set(messageIDs).count == keys.count && messageIDs.allSatisfy { $0.utf8.count < 700 })
    #expect(messageIDs[3] == "<a=3D2Eb@example.org>")
  }

  @Test("A date after the year 9999 or before 1970 is rejected", arguments: [-1, 253_402_300_800, .max] as [Int64])
  func dates(date: Int64) {
    #expect(isInvalid { try mail(date: date) })
  }

  @Test("Whatever a mail contains, Python's parser reads the same", .needsServers, .whenThereIsRoom)
  func fuzzing() async throws {
    var fuzzer = Fuzzer(25)
    let pieces = [
      "a", "word ", " ", "  ", "=", "=?utf-8?q?a?=", "?", "_", ".", ",", "\"", "<b>", "é", "e\u{301}", "📦", "漢字",
      "--=_alternative", "From ", "\u{2028}", "\u{FEFF}", String(repeating: "x", count: 80),
    ]
    func text(_ pieces: [String], upTo count: Int) -> String {
      (0..<Int.random(in: 0...count, using: &fuzzer.random)).map { _ in pieces.randomElement(using: &fuzzer.random)! }
        .joined()
    }
    var file = Data()
    var mails: [Mail] = []
    for _ in 0..<min(Fuzzer.count, 500) {
      let breaks = pieces + ["\n", "\r\n", "\r", ".\n", " \n", "\t", "\t\n", "\u{1}"]
      let mail = try mail(
        subject: text(pieces, upTo: 20), text: text(breaks, upTo: 40), html: text(breaks, upTo: 40),
        name: text(pieces, upTo: 12))
      mails.append(mail)
      withUnsafeBytes(of: Int64(mail.message.count).littleEndian) { file.append(contentsOf: $0) }
      file.append(contentsOf: mail.message)
    }
    let path = TestEnvironment.scratch.appendingPathComponent("mails")
    try file.write(to: path)
    let reader = try TestMailServer.script(["read", path.path])
    #expect(try await reader.wait() == 0, "\(reader.output)")
    let read = reader.events
    #expect(read.count == mails.count)
    for (mail, read) in zip(mails, read) {
      #expect(read["subject"]?.string == mail.content.subject)
      #expect(read["from"]?["name"]?.string == mail.from.name ?? "" && read["from"]?["address"] == "shop@example.org")
      #expect(read["text"]?.string == lines(mail.content.text) && read["html"]?.string == lines(mail.content.html))
      #expect(read["defects"] == .array([]) && read["isPlainASCII"] == true && read["headers"] == 8)
      #expect(read["longestLine"]?.integer ?? .max <= 76)
    }
  }

  private func lines(_ text: String) -> String {
    text.replacingOccurrences(of: "\r\n", with: "\n").replacingOccurrences(of: "\r", with: "\n")
  }
}
