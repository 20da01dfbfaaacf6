import CommerceReactions
import ProjectorKit
import Reactions
import ServiceKit
import SettingsKit

@main
struct App {
  static func main() async { await Role.commerceReactor.main() }
}

extension Role {
  static let commerceReactor = Role.reactor(
    commerceReactions().map(\.name), settings: [Setting.paymentDeadline.description] + MailSender.settings
  ) { settings throws(SettingError) in
    commerceReactions(paymentDeadline: try settings[.paymentDeadline], mails: try MailSender(settings))
  }
}
