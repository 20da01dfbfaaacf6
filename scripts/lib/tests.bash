# Helpers of scripts/test. Source after servers.bash.

# Uses the servers of a root folder instead of this machine's.
use_servers() { # FOLDER
  ((EUID == 0)) || fail '--servers needs root'
  [[ -d $1 ]] && SERVERS_ROOT=$(realpath "$1") || fail '--servers takes a root folder'
  [[ -x $SERVERS_ROOT/usr/lib/rabbitmq/bin/rabbitmq-server && -x $SERVERS_ROOT$(pg_bin)/postgres ]] ||
    fail "$1 has no RabbitMQ or no PostgreSQL: install both in it, without starting them"
  export SERVERS_ROOT
}

rabbitmq_version() {
  printf 'user = "counterflow:%s"\n' "$(secret rabbitmq)" |
    curl -sf -m 10 -K - "$(management_url)/api/overview" | sed -E 's/.*"rabbitmq_version":"([^"]*)".*/\1/'
}

# Runs the tests in the background, so that a signal reaches this script at once. A run that exceeds TEST_LIMIT seconds
# fails and prints a backtrace of each thread.
run_tests() {
  local tests watch result=0
  SWIFT_BACKTRACE=enable=yes,registers=none,images=none,color=no,interactive=no \
    swift test --skip-build --disable-xctest "$@" &
  tests=$!
  (sleep "${TEST_LIMIT:-2400}" && end_hung) &
  watch=$!
  wait "$tests" || result=$?
  kill "$watch" 2>/dev/null || result=1
  return "$result"
}

# The test process writes a backtrace of all its threads on SIGQUIT.
end_hung() {
  local pid
  say "the tests have not ended within ${TEST_LIMIT:-2400} s"
  for pid in $(pids_of_this_run); do
    [[ $(readlink "/proc/$pid/exe") == *.xctest ]] || continue
    kill -QUIT "$pid"
    sleep 30
    kill -KILL "$pid"
  done
}

# The processes that test runs of this checkout have started, and their descendants.
pids_of_this_run() {
  grep -lzxF "COUNTERFLOW_TEST_RUN=$COUNTERFLOW_TEST_RUN" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
}

# Ends the servers, the processes of tests and all their descendants, but only those of this checkout. PostgreSQL writes
# nothing out: the next run removes the data, and writing so many databases would take a minute.
end_all() {
  local round pid found
  for round in {1..100}; do
    found=false
    for pid in $(pids_of_this_run); do
      [[ -e /proc/$pid && $pid != "$$" ]] || continue
      found=true
      # On SIGQUIT PostgreSQL frees its shared memory.
      if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == postgres ]] && ((round < 50)); then
        kill -QUIT "$pid" 2>/dev/null || true
      else
        kill -KILL "$pid" 2>/dev/null || true
      fi
    done
    $found || break
    sleep 0.1
  done
  "$root/scripts/down" --quiet
}

# A passed test removes its folder. For each other test this prints the ends of its logs and keeps its files: those of
# the last five runs, without server data, at most 1 MB per file.
keep_failed() {
  local test file kept=$local_dir/failed/$(date -u +%Y%m%dT%H%M%SZ) count=0 target
  for test in "$TEST_SCRATCH"/*.*/; do
    [[ -d $test ]] || continue
    ((++count <= 20)) || break
    target=$kept/$(basename "$test")
    mkdir -p "$target"
    while IFS= read -r file; do
      tail -c 1000000 "$file" >"$target/$(basename "$file")"
    done < <(find "$test" -type f \( -name '*.log' -o -name '*.png' \) -not -path '*/postgres/*' -not -path '*/rabbitmq/*')
    printf '\n%s failed or did not end. Its files: %s\n' "$(basename "$test")" "$target"
    for file in "$target"/*.log; do
      [[ -s $file ]] || continue
      printf -- '--- the last lines of %s\n' "$(basename "$file")"
      tail -n 12 "$file" | cut -c 1-400
    done
  done
  ((count == 0)) || say "The logs of the shared servers: $log_dir/postgres.log, $log_dir/rabbitmq.log"
  local runs=("$local_dir"/failed/*/)
  ((${#runs[@]} <= 5)) || rm -rf "${runs[@]::${#runs[@]}-5}"
}
