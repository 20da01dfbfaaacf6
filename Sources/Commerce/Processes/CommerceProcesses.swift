import CommerceReactions
import CommerceReadModels
import ProjectorKit
import Reactions
public import ServiceKit
import SettingsKit

extension Role {
  /// Keeps the read models of the commerce back end up to date.
  public static let commerceProjector = Role.projector(commerceReadModels)

  /// Runs the reactions of the commerce back end, and its scheduled commands.
  public static let commerceReactor = Role.reactor(
    commerceReactions().map(\.name), settings: [Setting.paymentDeadline.description] + MailSender.settings
  ) { settings throws(SettingError) in
    commerceReactions(paymentDeadline: try settings[.paymentDeadline], mails: try MailSender(settings))
  }
}
