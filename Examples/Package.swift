// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "counterflow-examples",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "counterflow", path: "..")],
  targets: [
    example("items", "Items"), example("bank", "Bank"), example("social", "Social"),
    .testTarget(
      name: "ExampleTests",
      dependencies: [
        .product(name: "Counterflow", package: "counterflow"),
        .product(name: "CounterflowTesting", package: "counterflow"), "bank", "items", "social",
      ], path: "Tests"),
  ])

func example(_ name: String, _ folder: String) -> Target {
  .executableTarget(
    name: name, dependencies: [.product(name: "Counterflow", package: "counterflow")], path: folder,
    exclude: ["README.md"])
}
