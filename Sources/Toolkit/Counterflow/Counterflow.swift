// One import for a domain and an application.
@_exported public import AccessKit
@_exported public import CommandKit
@_exported public import ConsoleKit
@_exported public import EventSourcing
@_exported public import HTTPKit
@_exported public import JSON
@_exported public import Projections
@_exported public import QueryKit
@_exported public import Reactions
@_exported public import ServiceKit
@_exported public import SettingsKit
