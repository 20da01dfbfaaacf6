# Compares the defaults of settings with other values. Sourced by scripts/bench.

backlog=${backlog:-100000}
MANAGEMENT_URL=http://counterflow:$(secret rabbitmq)@127.0.0.1:$(kept_port management)
export MANAGEMENT_URL LIMIT=$backlog PATHS=$local_dir/tmp/paths
echo '/v1/orders/order-{n}' >"$PATHS"

# anew EXECUTABLE [VARIABLE=VALUE...]: restarts the service with other settings.
anew() {
  local url
  url=$(cat "$run_dir/$1-1.url")
  stop_service "$1-1"
  start_service "$1-1" "$1" "${1%-service}" HTTP_PORT="${url##*:}" "${@:2}"
  wait_until 60 curl -sf -m 2 -o /dev/null "$url/readyz" || fail "$1 is not ready after 60 s"
}
written() { anew command-service "$1" && commands; }
read_by_id() { anew query-service QUERY_CACHE_MB=0 "$1" && load wrk-read 64 "$QUERY_URL"; }
caught_up() {
  local since
  stop_service projector-1
  admin_psql postgres -c 'drop database counterflow_read with (force)'
  make_database counterflow_read
  "$binaries/counterflow" migrate >/dev/null
  placed=$(orders)
  since=$(date +%s.%N)
  start_service projector-1 projector projector "$1"
  wait_until 300 applied_all || fail 'the read models did not catch up'
  awk "BEGIN { printf \"%d\", $placed / ($(date +%s.%N) - $since) }"
}
# spent RATE SETTING: the CPU of the whole system, in % of one core, at that many orders a second.
spent() {
  local window=$((seconds * 2 + 12))
  anew relay "$2"
  offer "$1" "$((window + 3))" &
  sleep 2
  /usr/bin/python3 "$root/scripts/lib/cost.py" "$run_dir" "$window" | jq '[.cpu[]] | add * 1000 | round / 10'
  wait $!
}
readable_when_idle() {
  anew relay "$1"
  readable "$((seconds * 2))" --pause | cut -d ' ' -f 1
}
readable_at_half() {
  anew relay "$1"
  offer "$half" "$((seconds * 2 + 2))" &
  sleep 1
  readable "$((seconds * 2))" | cut -d ' ' -f 1
  wait $!
}

# beside NAME MEASURE SETTING VALUE...: reports the output of MEASURE, a command, with each value of the setting, in turn.
beside() {
  local name=$1 measure=$2 setting=$3 value
  local -A found=()
  shift 3
  for _ in $(seq "$rounds"); do
    for value; do found[$value]+="$($measure "$setting=$value") "; done
  done
  for value; do
    read -ra values <<<"${found[$value]}"
    report "$setting=$value: $name" "$(printf '%s\n' "${values[@]}" | median)" "${values[@]}"
  done
}

half=$(($(commands) / 2))
gather_times=(0 0.004 0.008 0.016 0.024 0.032)
for rate in 100 600; do
  beside "CPU at $rate orders/s, % of one core" "spent $rate" RELAY_GATHER_TIME "${gather_times[@]}"
done
beside 'acknowledged to readable on an idle system, p50, ms' readable_when_idle RELAY_GATHER_TIME "${gather_times[@]}"
beside "acknowledged to readable at half of the maximum, $half orders/s, p50, ms" readable_at_half RELAY_GATHER_TIME "${gather_times[@]}"
stop_service relay-1
stop_service projector-1
stop_service reactor-1
beside 'orders/s, relay, projector and reactor stopped' written DATABASE_POOL_SIZE 2 4 8 16
beside 'orders/s, relay, projector and reactor stopped' written COMMAND_BATCH_SIZE 25 50 100 200
start_service relay-1 relay relay
"$benchmark" --spread "$backlog"
source "$root/scripts/lib/bench-store.bash"
beside 'backlog, orders/s in all read models' caught_up PROJECTION_LANES 1 2 4
beside 'backlog, orders/s in all read models' caught_up PROJECTION_BATCH_SIZE 500 1000 2000 4000
admin_psql counterflow_read -c 'vacuum analyze' >/dev/null
beside 'order by id, no cache, a second' read_by_id DATABASE_POOL_SIZE 2 4 8 16
