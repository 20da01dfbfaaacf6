/// The program that administers the system, for messages that tell an operator what to run.
package enum OperatorProgram {
  /// An application with one executable sets its own name. Services that are executables of their own have `counterflow`.
  @TaskLocal package static var name = "counterflow"
}
