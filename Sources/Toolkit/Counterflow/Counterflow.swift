// What a domain is written with, and an application made of: one import.
@_exported public import CommandKit
@_exported public import EventSourcing
@_exported public import JSON
@_exported public import Projections
@_exported public import QueryKit
@_exported public import ServiceKit
