// swift-tools-version: 6.2
import PackageDescription

let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
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
    .executable(name: "counterflow", targets: ["Counterflow"]),
    .executable(name: "loadtest", targets: ["LoadTest"]),
    .executable(name: "append-benchmark", targets: ["AppendBenchmark"]),
    .executable(name: "codec-benchmark", targets: ["CodecBenchmark"]),
    .executable(name: "constant-answer", targets: ["ConstantAnswer"]),
    .library(name: "Postgres", targets: ["Postgres"]),
    .library(name: "RabbitMQ", targets: ["RabbitMQ"]),
    .library(
      name: "CounterflowToolkit",
      targets: ["Failures", "EventSourcing", "PostgresEventStore", "CommandProcessing", "EventRelay", "Projections"]),
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
    // C libraries: each has one importer.
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"]), .brew(["libpq"])]),
    .systemLibrary(
      name: "CRabbitMQ", pkgConfig: "librabbitmq", providers: [.apt(["librabbitmq-dev"]), .brew(["rabbitmq-c"])]),
    .systemLibrary(name: "CLinux"),
    .target(name: "EventLoop"),
    // What an error means, for every layer above.
    .target(name: "Failures"),
    .target(
      name: "Postgres",
      dependencies: ["CLibPQ", "EventLoop", "Failures", deque, lifecycle, logging, metrics]),
    .target(
      name: "RabbitMQ", dependencies: ["CRabbitMQ", "EventLoop", "Failures", deque, lifecycle, logging, metrics]),

    // The toolkit: no word of any business.
    .target(name: "JSON"),
    .target(name: "EventSourcing", dependencies: ["Failures", "JSON"]),
    .target(
      name: "PostgresEventStore",
      dependencies: ["EventSourcing", "Failures", "Postgres"],
      resources: [
        .embedInCode("Migrations/v0001_events.sql"), .embedInCode("Migrations/v0002_write_path.sql"),
        .embedInCode("Migrations/v0003_turns.sql"),
        .embedInCode("Migrations/v0004_cursors.sql"), .embedInCode("Migrations/v0005_pages.sql"),
        .embedInCode("Migrations/v0006_generated_keys.sql"), .embedInCode("Migrations/functions.sql"),
        .embedInCode("Migrations/privileges.sql"),
      ]),
    .target(
      name: "CommandProcessing",
      dependencies: ["EventSourcing", "Failures", "JSON", deque, lifecycle, logging, metrics, tracing]),
    .target(
      name: "EventRelay",
      dependencies: [
        "EventSourcing", "Failures", "JSON", "PostgresEventStore", "Postgres", "RabbitMQ", lifecycle, logging, metrics,
        tracing,
      ]),
    .target(
      name: "Projections",
      dependencies: [
        "EventSourcing", "EventRelay", "Failures", "JSON", "Postgres", "PostgresEventStore", "RabbitMQ", deque,
        lifecycle, logging, metrics, tracing,
      ],
      resources: [
        .embedInCode("Migrations/v0001_projections.sql"), .embedInCode("Migrations/v0002_generations.sql"),
        .embedInCode("Migrations/v0003_numbers.sql"),
        .embedInCode("Migrations/v0004_one_row.sql"),
        .embedInCode("Migrations/functions.sql"), .embedInCode("Migrations/privileges.sql"),
      ]),
    .target(
      name: "ServiceKit",
      dependencies: [
        "Base64URL", "Failures", "JSON", "Observability", "Postgres", "RabbitMQ", configuration, httpTypes,
        hummingbird,
        hummingbirdCore,
        hummingbirdTLS, jwt, lifecycle, logging,
        metrics, tracing,
        signals,
      ]),

    .target(name: "Base64URL"),
    // What a process says of itself: a backend each for metrics, logs and traces.
    .target(
      name: "Observability", dependencies: ["JSON", asyncHTTPClient, coreMetrics, logging, nioCore, nioHTTP1, tracing]),
    .target(name: "Consistency", dependencies: ["Base64URL", "EventSourcing", crypto]),
    .target(
      name: "PersonalKeys", dependencies: ["Failures", "Postgres", crypto],
      resources: [
        .embedInCode("Migrations/v0001_keys.sql"), .embedInCode("Migrations/v0002_discard.sql"),
        .embedInCode("Migrations/privileges.sql"),
      ]),

    // The commerce back end.
    .target(name: "Commerce", dependencies: ["EventSourcing", "JSON"]),
    .target(
      name: "CommerceReadModels",
      dependencies: ["Commerce", "EventSourcing", "Failures", "JSON", "PersonalKeys", "Postgres", "Projections"],
      resources: [
        .embedInCode("Migrations/v0001_orders_catalogue.sql"), .embedInCode("Migrations/v0002_generations.sql"),
        .embedInCode("Migrations/v0003_commerce.sql"), .embedInCode("Migrations/v0004_customers.sql"),
        .embedInCode("Migrations/v0005_typos.sql"), .embedInCode("Migrations/v0006_months.sql"),
        .embedInCode("Migrations/v0007_lookups.sql"),
        .embedInCode("Migrations/privileges.sql"),
      ]),
    .target(
      name: "CommerceStore", dependencies: ["Postgres"],
      resources: [.embedInCode("Migrations/v0001_currency.sql"), .embedInCode("Migrations/privileges.sql")]),
    .target(
      name: "CommerceAPI", dependencies: ["Commerce", "EventSourcing", "JSON"],
      resources: [.embedInCode("openapi.yaml")]),

    .target(name: "RetailImport", dependencies: ["Commerce", "CommerceAPI", "EventSourcing", "JSON", crypto, csv]),

    // One process each.
    .executableTarget(
      name: "CommandService",
      dependencies: [
        "Commerce", "CommerceAPI", "CommerceStore", "Consistency", "CommandProcessing", "EventSourcing", "Failures",
        "JSON", "PersonalKeys", "Postgres",
        "PostgresEventStore", "ServiceKit", crypto, httpTypes, hummingbird, lifecycle, logging, metrics,
      ]),
    .executableTarget(
      name: "Relay",
      dependencies: [
        "EventRelay", "EventSourcing", "Postgres", "PostgresEventStore", "RabbitMQ", "ServiceKit", hummingbird,
        lifecycle,
        logging,
      ]),
    .executableTarget(
      name: "Projector",
      dependencies: [
        "CommerceReadModels", "EventSourcing", "PersonalKeys", "Postgres", "PostgresEventStore", "Projections",
        "RabbitMQ",
        "ServiceKit",
        hummingbird, lifecycle, logging,
      ]),
    .executableTarget(
      name: "QueryService",
      dependencies: [
        "Base64URL", "Commerce", "CommerceAPI", "Consistency", "EventLoop", "Failures", "PersonalKeys",
        "PostgresEventStore",
        "CommerceReadModels", "EventSourcing", "JSON", "Postgres", "Projections",
        "ServiceKit",
        "Observability", crypto, httpTypes,
        hummingbird, lifecycle, logging,
      ],
      resources: [
        .embedInCode("Console/console.html"), .embedInCode("Console/app.js"), .embedInCode("Console/style.css"),
      ]),
    .executableTarget(
      name: "Counterflow",
      dependencies: [
        "Commerce", "CommerceReadModels", "CommerceStore", "EventSourcing", "Failures", "JSON", "Observability",
        "PersonalKeys", "Postgres", "PostgresEventStore", "Projections", "RetailImport", "ServiceKit", argumentParser,
        asyncHTTPClient, logging, nioCore, nioHTTP1,
      ]),

    .executableTarget(
      name: "LoadTest",
      dependencies: [
        "CLinux", "CommerceAPI", "JSON", "Observability", "ServiceKit", argumentParser, deque, histogram, nioEmbedded,
      ],
      resources: [.embedInCode("report.html")]),

    // Measured by scripts/bench.
    .executableTarget(
      name: "AppendBenchmark",
      dependencies: ["Commerce", "EventSourcing", "JSON", "PersonalKeys", "Postgres", "PostgresEventStore", logging],
      path: "Benchmarks/AppendBenchmark"),
    .executableTarget(
      name: "CodecBenchmark", dependencies: ["Commerce", "EventSourcing", "JSON"], path: "Benchmarks/CodecBenchmark"),
    .executableTarget(
      name: "ConstantAnswer", dependencies: ["ServiceKit", httpTypes, hummingbird, lifecycle, logging],
      path: "Benchmarks/ConstantAnswer"),

    // Tests.
    .systemLibrary(name: "CSpawn", path: "Tests/CSpawn"),
    .target(
      name: "TestSupport",
      dependencies: [
        "CSpawn", "EventSourcing", "JSON", "Postgres", "PostgresEventStore", "Projections", "RabbitMQ", asyncHTTPClient,
        logging, nioCore, nioHTTP1,
      ],
      path: "Tests/TestSupport"),
    .testTarget(name: "PostgresTests", dependencies: ["EventLoop", "Failures", "Postgres", "TestSupport", logging]),
    .testTarget(name: "RabbitMQTests", dependencies: ["Failures", "RabbitMQ", "TestSupport", logging]),
    .testTarget(
      name: "ToolkitTests",
      dependencies: [
        "CommandProcessing", "EventRelay", "EventSourcing", "Failures", "JSON", "Postgres", "PostgresEventStore",
        "Projections", "RabbitMQ", "TestSupport", coreMetrics, lifecycle, logging, metricsTestKit,
      ]),
    .testTarget(
      name: "CommerceTests",
      dependencies: [
        "Commerce", "CommerceAPI", "CommerceReadModels", "EventSourcing", "Failures", "JSON", "Postgres",
        "Projections", "RetailImport", "TestSupport",
      ]),
    .testTarget(
      name: "SystemTests",
      dependencies: [
        "Base64URL", "CommandProcessing", "CommandService", "CommerceAPI", "Consistency", "Projections", "PersonalKeys",
        "CommerceReadModels", "Counterflow", "EventRelay", "EventSourcing", "Failures", "RabbitMQ",
        "JSON", "LoadTest", "Observability",
        "Postgres", "PostgresEventStore", "Projector", "QueryService", "Relay", "ServiceKit", "TestSupport", httpTypes,
        crypto, histogram, hummingbird, jwt, logging,
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
