internal import EventSourcing
internal import Logging
internal import Metrics
internal import Reactions
internal import SMTP
public import SettingsKit
internal import Synchronization

/// Sends a process's mails to customers. It has as many connections as there are mails at once.
public final class MailSender: Sendable {
  enum Outcome: String, CaseIterable {
    case sent
    case noAddress = "no address"
    /// SMTP cannot carry it.
    case unusableAddress = "unusable address"
  }

  /// The settings that `init` reads.
  public static let settings = [
    Setting.smtpURL.description, Setting.smtpTimeout.description, Setting.mailFrom.description,
  ]

  private let server: SMTPServer
  private let from: Mailbox
  /// How long one mail may take.
  let timeout: Duration
  /// The clients that send nothing now. Those in use last are last, and are used first: the others' connections may end.
  private let idle = Mutex<[SMTPClient]>([])
  private let outcomes: [Outcome: Counter]

  /// - Returns: nil if `SMTP_URL` is not set; the log says so.
  public init?(_ settings: Settings) throws(SettingError) {
    guard let server = try settings[.smtpURL] else {
      var logger = Logger(label: "reactor")
      logger.logLevel = try settings[.logLevel]
      logger.notice("SMTP_URL is not set: customers get no mails")
      return nil
    }
    (self.server, from, timeout) = (server, try settings[.mailFrom], try settings[.smtpTimeout])
    outcomes = Dictionary(
      uniqueKeysWithValues: Outcome.allCases.map {
        ($0, Counter(label: "mails_total", dimensions: [("outcome", $0.rawValue)]))
      })
  }

  func count(_ outcome: Outcome) { outcomes[outcome]?.increment() }

  /// - Throws: `SMTPError`.
  func send(_ mail: CustomerMail, to recipient: Mailbox, _ context: EffectContext) async throws {
    // A mail that is sent again is the same to the byte.
    let mail = try Mail(
      key: context.key, from: from, to: recipient,
      content: .init(subject: mail.subject, text: mail.text, html: mail.html),
      date: context.recordedAt.microsecondsSince1970 / 1_000_000)
    let client =
      try idle.withLock { $0.popLast() }
      ?? SMTPClient(server, limits: .init(connect: min(.seconds(10), timeout), send: timeout))
    defer { idle.withLock { $0.append(client) } }
    try await client.send(mail)
    count(.sent)
  }
}

extension Setting where Value == SMTPServer? {
  static let smtpURL = Setting(
    "SMTP_URL", default: "none",
    allowed: "none, or smtp://user:password@host:port or smtps://user:password@host:port, ?cacertfile=/path may follow",
    help: "The server that mails to customers go to; without it nobody gets any, also not later.", isSecret: true
  ) { text in
    .some(text == "none" ? nil : try SMTPServer(url: text))
  }
}

extension Setting where Value == Mailbox {
  static let mailFrom = Setting(
    "MAIL_FROM", default: "Counterflow <orders@localhost>",
    allowed: "an address, or a name and an address such as Shop <orders@example.org>",
    help: "The sender of mails to customers. The Message-IDs end with the address's domain."
  ) { text in
    guard let parts = text.wholeMatch(of: /(?:([^<>]*[^<> ]) )?<([^<>]+)>/) else { return try Mailbox(address: text) }
    return try Mailbox(name: parts.1.map { String($0) }, address: String(parts.2))
  }
}

extension Setting where Value == Duration {
  static let smtpTimeout = Setting.seconds(
    "SMTP_TIMEOUT", default: 60, in: 1...600,
    help: "How long a mail may take, in seconds. A server that accepts it later receives it twice.")
}
