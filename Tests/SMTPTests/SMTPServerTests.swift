import Failures
import Testing

@testable import SMTP

@Suite("URLs of mail servers")
struct SMTPServerTests {
  @Test("User and password are percent-decoded, and ports have defaults")
  func parts() throws {
    let server = try SMTPServer(url: "smtp://us%3Aer%40x:p%2Fw%3B%C3%A9@mail.example.org:2525?cacertfile=/etc/ca.pem")
    #expect(server.login == .init(user: "us:er@x", password: "p/w;é"))
    #expect(server.host == "mail.example.org" && server.port == 2525 && server.certificates == "/etc/ca.pem")
    #expect(try SMTPServer(url: "smtp://mail.example.org").port == 587)
    #expect(try SMTPServer(url: "smtps://mail.example.org/").port == 465)
    #expect(try SMTPServer(url: "smtp://[::1]:25").description == "smtp://[::1]:25")
  }

  @Test("Neither the description nor the reflection of a server contains its user or password")
  func secrets() throws {
    let server = try SMTPServer(url: "smtps://user:password@mail.example.org")
    #expect("\(server)" == "smtps://mail.example.org:465" && String(reflecting: [server]).contains("\(server)"))
    #expect(!String(reflecting: [server]).contains("user") && !String(reflecting: [server]).contains("password"))
  }

  @Test(
    "A login over a network requires encryption",
    arguments: [
      ("smtps://mail.example.org", .fromTheStart), ("smtps://u:p@localhost", .fromTheStart),
      ("smtp://u:p@mail.example.org", .required), ("smtp://u:p@127.0.0.1.example.org", .required),
      ("smtp://u:p@127.example.org", .required), ("smtp://u:p@0.0.0.0", .required), ("smtp://u:p@[::2]", .required),
      ("smtp://mail.example.org", .ifOffered), ("smtp://mail?cacertfile=/ca", .required),
      ("smtp://localhost?cacertfile=/ca", .required), ("smtp://u:p@localhost", .never), ("smtp://LOCALHOST", .never),
      ("smtp://u:p@127.8.0.1", .never), ("smtp://[::1]", .never),
    ] as [(String, SMTPServer.Encryption)])
  func encryption(url: String, encryption: SMTPServer.Encryption) throws {
    #expect(try SMTPServer(url: url).encryption == encryption)
  }

  @Test(
    "A URL that is not valid is rejected, and the error does not contain it",
    arguments: [
      "", "mail.secret.org", "http://user:secret@host", "smtp://", "smtp://user:secret@", "smtp://user@host",
      "smtp://:secret@host", "smtp://user:@host", "smtp://user:secret;auth=PLAIN@host", "smtp://user:se#cret@host",
      "smtp://user:12#secret@host", "smtp://user:secret@host:0", "smtp://user:secret@host:65536",
      "smtp://user:secret@host:port", "smtp://user:secret@host/path", "smtp://user:secret@host?x=1",
      "smtp://user:secret@host?cacertfile=", "smtp://user:secret@host?cacertfile=/a&x=1", "smtp://user:%ff@host",
      "smtp://user:se%0acret@host", "smtp://user:se cret@host", "smtp://user:secret@host\n",
    ])
  func invalid(url: String) {
    #expect { try SMTPServer(url: url) } throws: { error in
      let error = error as? SMTPError
      return error?.code == .invalidURL && error?.failureKind == .programmingError && !"\(error!)".contains("secret")
    }
  }
}
