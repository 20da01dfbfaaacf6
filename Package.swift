// swift-tools-version: 6.2
import PackageDescription

let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let jwt = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let metricsTestKit = Target.Dependency.product(name: "MetricsTestKit", package: "swift-metrics")
let csv = Target.Dependency.product(name: "SwiftCSV", package: "SwiftCSV")
let tracing = Target.Dependency.product(name: "Tracing", package: "swift-distributed-tracing")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")

let package = Package(
  name: "counterflow",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "command-service", targets: ["CommandService"]),
    .executable(name: "relay", targets: ["Relay"]),
    .executable(name: "projector", targets: ["Projector"]),
    .executable(name: "query-service", targets: ["QueryService"]),
    .executable(name: "reactor", targets: ["ReactorService"]),
    .executable(name: "counterflow", targets: ["CounterflowTool"]),
    .executable(name: "loadtest", targets: ["LoadTest"]),
    .executable(name: "simulate", targets: ["Simulate"]),
    .executable(name: "append-benchmark", targets: ["AppendBenchmark"]),
    .executable(name: "codec-benchmark", targets: ["CodecBenchmark"]),
    .executable(name: "constant-answer", targets: ["ConstantAnswer"]),
    .library(name: "Postgres", targets: ["Postgres"]),
    .library(name: "RabbitMQ", targets: ["RabbitMQ"]),
    .library(name: "SMTP", targets: ["SMTP"]),
    .library(name: "Counterflow", targets: ["Counterflow"]),
    .library(name: "CounterflowTesting", targets: ["CounterflowTesting"]),
    // For back ends whose services are executables of their own, each with what it needs and no more.
    .library(name: "EventSourcing", targets: ["EventSourcing", "JSON"]),
    .library(name: "ReadModels", targets: ["Projections", "PostgresEventStore", "Postgres"]),
    .library(
      name: "CommandKit",
      targets: [
        "AccessKit", "CommandKit", "EventSourcing", "HTTPKit", "JSON", "Postgres", "PostgresEventStore", "ServiceKit",
        "SettingsKit",
      ]),
    .library(
      name: "QueryKit",
      targets: [
        "AccessKit", "ConsoleKit", "EventSourcing", "HTTPKit", "JSON", "Projections", "QueryKit", "ServiceKit",
        "SettingsKit",
      ]),
    .library(
      name: "ProjectorKit",
      targets: ["PostgresEventStore", "ProjectorKit", "Projections", "Reactions", "ServiceKit", "SettingsKit"]),
    .library(name: "RelayKit", targets: ["RabbitMQFeed", "ServiceKit"]),
    .library(
      name: "Administration",
      targets: [
        "Administration", "Postgres", "PostgresEventStore", "Projections", "Reactions", "ServiceKit", "SettingsKit",
      ]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
    .package(url: "https://github.com/swiftcsv/SwiftCSV", from: "0.10.0"),
  ],
  targets: [
    // Drivers: JSON, and the C libraries, each imported by one target.
    .systemLibrary(
      name: "CLibPQ", path: "Sources/Drivers/CLibPQ", pkgConfig: "libpq",
      providers: [.apt(["libpq-dev"]), .brew(["libpq"])]),
    .systemLibrary(
      name: "CRabbitMQ", path: "Sources/Drivers/CRabbitMQ", pkgConfig: "librabbitmq",
      providers: [.apt(["librabbitmq-dev"]), .brew(["rabbitmq-c"])]),
    .systemLibrary(
      name: "CCurl", path: "Sources/Drivers/CCurl", pkgConfig: "libcurl",
      providers: [.apt(["libcurl4-openssl-dev"]), .brew(["curl"])]),
    .systemLibrary(name: "CLinux", path: "Sources/Drivers/CLinux"),
    // Time, rest and chance: what a simulation replaces.
    driver("Machine"),
    driver("EventLoop", ["Machine", heap]),
    // Classifies errors, for every layer above.
    driver("Failures"),
    driver("JSON"),
    driver("Postgres", ["CLibPQ", "EventLoop", "Failures", "Machine", deque, lifecycle, logging, metrics]),
    driver("RabbitMQ", ["CRabbitMQ", "EventLoop", "Failures", deque, logging, metrics]),
    driver("SMTP", ["CCurl", "EventLoop", "Failures"]),

    // The toolkit: it knows no business domain.
    toolkit("EventSourcing", ["Failures", "JSON", "Machine"]),
    toolkit(
      "PostgresEventStore",
      [
        "EventLoop", "EventSourcing", "Failures", "JSON", "Machine", "Postgres", crypto, lifecycle, logging, metrics,
        tracing,
      ],
      embedding: [
        "Migrations/v0001_event_store.sql", "Migrations/v0002_lost_event.sql", "Migrations/v0003_archives.sql",
        "Migrations/archive_functions.sql", "Migrations/functions.sql", "Migrations/privileges.sql",
        "PersonalKeys/Migrations/v0001_keys.sql", "PersonalKeys/Migrations/v0002_wrapped_keys.sql",
        "PersonalKeys/Migrations/v0003_erasures.sql", "PersonalKeys/Migrations/personal_privileges.sql",
        "PersonalKeys/Migrations/v0001_erasure_log.sql", "PersonalKeys/Migrations/erasure_log_privileges.sql",
      ]),
    toolkit(
      "CommandProcessing", ["EventSourcing", "Failures", "Machine", deque, lifecycle, logging, metrics, tracing]),
    toolkit(
      "Projections",
      [
        "EventLoop", "EventSourcing", "Failures", "JSON", "Machine", "Postgres", "PostgresEventStore", deque, lifecycle,
        logging, metrics, tracing,
      ],
      embedding: [
        "Migrations/v0001_projections.sql", "Migrations/v0001_read_models.sql", "Migrations/functions.sql",
        "Migrations/privileges.sql", "Migrations/read_model_privileges.sql", "Migrations/reaction_privileges.sql",
      ]),
    // One backend each for metrics, logs and traces.
    toolkit("Observability", ["JSON", "Machine", asyncHTTPClient, coreMetrics, logging, nioCore, nioHTTP1, tracing]),
    // Settings from the environment, and a client for other processes.
    toolkit(
      "SettingsKit", ["Machine", "Postgres", configuration, logging, nioCore, nioHTTP1]),
    // The HTTP server of every process, and what requests and responses have in common.
    toolkit(
      "HTTPKit",
      [
        "EventSourcing", "Failures", "JSON", "Machine", "Observability", "SettingsKit", crypto, httpTypes, hummingbird,
        hummingbirdCore, hummingbirdTLS, lifecycle, logging, metrics, nioCore, nioHTTP1, tracing,
      ]),
    // Who may send which requests.
    toolkit(
      "AccessKit",
      [
        "EventLoop", "HTTPKit", "JSON", "Machine", "SettingsKit", asyncHTTPClient, httpTypes, hummingbird, jwt,
        lifecycle, logging, metrics, nioCore, nioHTTP1,
      ]),
    // Roles: the processes of an application.
    toolkit(
      "ServiceKit",
      [
        "AccessKit", "EventSourcing", "HTTPKit", "Machine", "Observability", "Postgres", "PostgresEventStore",
        "SettingsKit", hummingbird, lifecycle, logging, metrics, signals, tracing,
      ]),
    toolkit(
      "RabbitMQFeed",
      [
        "EventLoop", "EventSourcing", "Failures", "HTTPKit", "JSON", "Machine", "Postgres", "PostgresEventStore",
        "RabbitMQ", "ServiceKit", "SettingsKit", deque, lifecycle, logging, metrics, tracing,
      ]),
    // What follows from events.
    toolkit(
      "Reactions",
      [
        "CommandProcessing", "EventLoop", "EventSourcing", "Failures", "JSON", "Machine", "Postgres",
        "PostgresEventStore", "Projections", lifecycle, logging, metrics,
      ]),
    toolkit(
      "ProjectorKit",
      [
        "CommandProcessing", "EventSourcing", "HTTPKit", "Machine", "Postgres", "PostgresEventStore", "Projections",
        "RabbitMQ",
        "RabbitMQFeed", "Reactions", "ServiceKit", "SettingsKit", lifecycle, logging,
      ]),
    toolkit(
      "CommandKit",
      [
        "AccessKit", "CommandProcessing", "EventSourcing", "Failures", "HTTPKit", "JSON", "Machine", "Postgres",
        "PostgresEventStore", "ServiceKit", "SettingsKit", crypto, httpTypes, hummingbird, lifecycle, logging, metrics,
      ]),
    toolkit(
      "QueryKit",
      [
        "AccessKit", "EventLoop", "EventSourcing", "Failures", "HTTPKit", "JSON", "Machine", "Postgres",
        "PostgresEventStore", "Projections", "ServiceKit", "SettingsKit", crypto, httpTypes, hummingbird, lifecycle,
        logging, metrics, nioCore,
      ]),
    toolkit(
      "ConsoleKit",
      [
        "AccessKit", "EventLoop", "EventSourcing", "HTTPKit", "JSON", "Machine", "Observability", "Postgres",
        "Projections", "QueryKit", "ServiceKit", "SettingsKit", httpTypes, hummingbird, lifecycle, logging, nioCore,
      ],
      embedding: ["console.html", "app.js", "style.css"]),
    toolkit(
      "Administration",
      [
        "AccessKit", "EventSourcing", "Failures", "HTTPKit", "JSON", "Machine", "Observability", "Postgres",
        "PostgresEventStore", "Projections", "Reactions", "ServiceKit", "SettingsKit", argumentParser,
        asyncHTTPClient, crypto, logging, nioCore, nioHTTP1,
      ]),
    // The whole toolkit, for users who write a domain.
    toolkit(
      "Counterflow",
      [
        "AccessKit", "Administration", "CommandKit", "ConsoleKit", "EventSourcing", "HTTPKit", "JSON", "Machine",
        "Postgres", "Projections", "ProjectorKit", "QueryKit", "RabbitMQFeed", "Reactions", "ServiceKit", "SettingsKit",
        argumentParser, httpTypes, hummingbird,
      ]),
    // For tests of a domain.
    toolkit(
      "CounterflowTesting",
      [
        "AccessKit", "CommandKit", "CommandProcessing", "Counterflow", "EventSourcing", "HTTPKit", "JSON", "Machine",
        "Projections", "QueryKit", "Reactions", httpTypes, hummingbird, logging, nioCore, nioEmbedded,
      ]),

    // The commerce back end. It sees what is public, as any user does.
    commerce("Commerce", "Domain", ["EventSourcing", "JSON"]),
    commerce(
      "CommerceReadModels", "ReadModels",
      ["Commerce", "EventSourcing", "JSON", "Postgres", "PostgresEventStore", "Projections"]),
    commerce(
      "CommerceStore", "Store", ["HTTPKit", "Postgres", "SettingsKit"],
      embedding: ["Migrations/v0001_currency.sql", "Migrations/privileges.sql"]),
    commerce(
      "CommerceReactions", "Reactions",
      ["Commerce", "EventSourcing", "Reactions", "SettingsKit", "SMTP", logging, metrics]),
    commerce("CommerceAPI", "API", ["Commerce", "EventSourcing", "JSON"], embedding: ["openapi.yaml"]),
    commerce(
      "CommerceCommands", "Commands",
      [
        "CommandKit", "Commerce", "CommerceAPI", "CommerceStore", "EventSourcing", "HTTPKit", "JSON", "Postgres",
        "PostgresEventStore", "ServiceKit", "SettingsKit", httpTypes, hummingbird, lifecycle, logging,
      ]),
    commerce(
      "CommerceQueries", "Queries",
      [
        "Commerce", "CommerceAPI", "CommerceReadModels", "CommerceStore", "ConsoleKit", "EventSourcing", "HTTPKit",
        "JSON",
        "Projections", "QueryKit", "ServiceKit", httpTypes, hummingbird,
      ]),
    commerce(
      "CommerceProcesses", "Processes",
      ["CommerceReactions", "CommerceReadModels", "ProjectorKit", "Reactions", "ServiceKit", "SettingsKit"]),
    commerce(
      "RetailImport", "Import", ["Commerce", "CommerceAPI", "EventSourcing", "HTTPKit", "JSON", crypto, csv]),

    // Its processes, and the tools for operators.
    service("CommandService", "command-service", ["CommerceCommands", "ServiceKit"]),
    service("Relay", "relay", ["RabbitMQFeed", "ServiceKit"]),
    service("Projector", "projector", ["CommerceProcesses", "ServiceKit"]),
    service("ReactorService", "reactor", ["CommerceProcesses", "ServiceKit"]),
    service("QueryService", "query-service", ["CommerceQueries", "ServiceKit"]),
    tool(
      "CounterflowTool", "counterflow",
      [
        "Administration", "Commerce", "CommerceCommands", "CommerceProcesses", "CommerceQueries", "CommerceReactions",
        "CommerceReadModels", "CommerceStore", "EventSourcing", "HTTPKit", "JSON", "Postgres", "RabbitMQFeed",
        "RetailImport", "ServiceKit", "SettingsKit", argumentParser, asyncHTTPClient, nioCore, nioHTTP1,
      ],
      // The template of `counterflow new`.
      embedding: [
        "New/Package.swift.txt", "New/README.md", "New/Sources/notebook.swift", "New/Tests/NoteTests.swift",
        "New/Dockerfile", "New/Dockerfile.dockerignore", "New/compose.yaml", "New/gitignore",
      ]),
    tool(
      "LoadTest", "loadtest",
      [
        "CLinux", "CommerceAPI", "HTTPKit", "JSON", "Observability", "ServiceKit", "SettingsKit", argumentParser, deque,
        histogram, nioEmbedded, nioCore,
      ],
      embedding: ["report.html"]),

    // The whole system on simulated machines.
    .target(name: "CTaskQueue", path: "Sources/Drivers/CTaskQueue"),
    .target(
      name: "Simulation",
      dependencies: [
        "CommandProcessing", "CTaskQueue", "EventLoop", "EventSourcing", "Failures", "HTTPKit", "JSON", "Machine",
        "Postgres", "PostgresEventStore", "Projections", "QueryKit", "RabbitMQFeed", "Reactions", heap, httpTypes,
        hummingbird, lifecycle, logging, nioCore,
      ],
      path: "Sources/Simulation"),
    tool("Simulate", "simulate", ["Simulation", argumentParser]),

    // The examples, for their tests. Users build them with Examples/Package.swift.
    example("items", "Items"), example("bank", "Bank"), example("social", "Social"),
    example("first-bank", "Guide/First"), example("grown-bank", "Guide/Grown"),

    // The template of `counterflow new`, so that it is compiled and tested.
    .executableTarget(
      name: "notebook", dependencies: ["Counterflow"], path: "Sources/Services/counterflow/New/Sources",
      packageAccess: false),

    // The benchmarks that scripts/bench runs.
    .executableTarget(
      name: "AppendBenchmark",
      dependencies: ["Commerce", "EventSourcing", "JSON", "Postgres", "PostgresEventStore", logging],
      path: "Benchmarks/AppendBenchmark"),
    .executableTarget(
      name: "CodecBenchmark", dependencies: ["Commerce", "EventSourcing", "JSON"], path: "Benchmarks/CodecBenchmark"),
    .executableTarget(
      name: "ConstantAnswer",
      dependencies: ["AccessKit", "HTTPKit", "ServiceKit", "SettingsKit", hummingbird],
      path: "Benchmarks/ConstantAnswer"),

    // Tests.
    .systemLibrary(name: "CSpawn", path: "Tests/CSpawn"),
    .target(
      name: "TestSupport",
      dependencies: [
        "CSpawn", "JSON", "Postgres", "RabbitMQ", asyncHTTPClient,
        logging, nioCore, nioHTTP1,
      ],
      path: "Tests/TestSupport"),
    .testTarget(name: "PostgresTests", dependencies: ["EventLoop", "Failures", "Postgres", "TestSupport", logging]),
    .testTarget(name: "RabbitMQTests", dependencies: ["Failures", "RabbitMQ", "TestSupport", logging]),
    .testTarget(name: "SMTPTests", dependencies: ["Failures", "JSON", "SMTP", "TestSupport"]),
    .testTarget(
      name: "ToolkitTests",
      dependencies: [
        "CommandProcessing", "Counterflow", "CounterflowTesting", "EventSourcing", "Failures", "JSON", "Postgres",
        "PostgresEventStore", "Projections", "QueryKit", "RabbitMQ", "RabbitMQFeed", "Reactions", "Simulation",
        "TestSupport", coreMetrics, lifecycle, logging, metricsTestKit,
      ]),
    .testTarget(
      name: "ExampleTests",
      dependencies: ["bank", "Counterflow", "CounterflowTesting", "first-bank", "grown-bank", "items", "social"],
      path: "Examples/Tests"),
    .testTarget(
      name: "NoteTests", dependencies: ["CounterflowTesting", "notebook"],
      path: "Sources/Services/counterflow/New/Tests"),
    .testTarget(
      name: "CommerceTests",
      dependencies: [
        "CommandKit", "Commerce", "CommerceAPI", "CommerceReactions", "CommerceReadModels", "CounterflowTesting",
        "EventSourcing", "Failures", "JSON", "Postgres", "Projections", "QueryKit", "Reactions", "RetailImport",
        "SettingsKit", "TestSupport",
      ]),
    .testTarget(
      name: "SystemTests",
      dependencies: [
        "AccessKit", "Administration", "bank", "CommandKit", "CommandProcessing", "CommandService", "CommerceAPI",
        "CommerceCommands", "CommerceProcesses", "CommerceQueries", "CommerceReadModels", "CommerceStore", "ConsoleKit",
        "Counterflow", "CounterflowTesting",
        "CounterflowTool", "EventSourcing", "Failures", "first-bank", "grown-bank", "HTTPKit", "items", "JSON",
        "LoadTest", "Observability", "Postgres", "PostgresEventStore", "Projections", "Projector", "QueryKit",
        "QueryService", "RabbitMQ", "RabbitMQFeed", "ReactorService", "Relay", "ServiceKit", "SettingsKit", "social",
        "TestSupport", crypto, histogram, httpTypes, hummingbird, jwt, coreMetrics, lifecycle, logging, metricsTestKit,
      ]),
  ],
  swiftLanguageModes: [.v6]
)

for target in package.targets where target.type != .system {
  target.swiftSettings = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ]
}

func driver(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, path: "Sources/Drivers/\(name)")
}

func toolkit(_ name: String, _ dependencies: [Target.Dependency], embedding files: [String] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/Toolkit/\(name)", resources: files.map { .embedInCode($0) })
}

func commerce(
  _ name: String, _ folder: String, _ dependencies: [Target.Dependency], embedding files: [String] = []
) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/Commerce/\(folder)",
    resources: files.map { .embedInCode($0) }, packageAccess: false)
}

func example(_ name: String, _ folder: String) -> Target {
  .executableTarget(
    name: name, dependencies: ["Counterflow"], path: "Examples/\(folder)", exclude: ["README.md"], packageAccess: false)
}

/// An executable of the commerce back end.
func service(_ name: String, _ product: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, path: "Sources/Services/\(product)", packageAccess: false)
}

func tool(
  _ name: String, _ product: String, _ dependencies: [Target.Dependency], embedding files: [String] = []
) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, path: "Sources/Services/\(product)",
    resources: files.map { .embedInCode($0) })
}
