// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "counterflow-examples",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "counterflow", path: "..")],
  targets: [
    example("items", "Items"), example("bank", "Bank"), example("social", "Social"),
    example("first-bank", "Guide/First"), example("grown-bank", "Guide/Grown"),
    .testTarget(
      name: "ExampleTests",
      dependencies: [
        .product(name: "Counterflow", package: "counterflow"),
        .product(name: "CounterflowTesting", package: "counterflow"), "bank", "first-bank", "grown-bank", "items",
        "social",
      ], path: "Tests"),
  ])

func example(_ name: String, _ folder: String) -> Target {
  .executableTarget(
    name: name, dependencies: [.product(name: "Counterflow", package: "counterflow")], path: folder,
    exclude: ["README.md"])
}
