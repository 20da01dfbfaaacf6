# The cost of an order by process: at rest, at steady rates, at half the maximum and at the maximum. Sourced by
# scripts/bench.

MANAGEMENT_URL=http://counterflow:$(secret rabbitmq)@127.0.0.1:$(kept_port management)
export MANAGEMENT_URL
window=$((seconds * 4 + 12))
# offered RATE: offers that many orders a second in the background; 0 for none, "full" for the maximum.
offered() {
  case $1 in
    0) return ;;
    full) wrk -t 1 -c 64 -d "$((window + 4))" -s "$root/scripts/lib/wrk-order.lua" "$COMMAND_URL/v1/orders" >/dev/null 2>&1 & ;;
    *) offer "$1" "$((window + 3))" & ;;
  esac
  load_pid=$!
}
# cost NAME RATE: reports the CPU of each process in % of one core, and the operations per order.
cost() {
  local all found
  offered "$2"
  sleep 2
  found=$(/usr/bin/python3 "$root/scripts/lib/cost.py" "$run_dir" "$window")
  [[ $2 == 0 ]] || wait "$load_pid" || fail 'the load failed'
  all=$(jq '[.cpu[]] | add * 1000 | round / 10' <<<"$found")
  report "CPU $1, % of one core" "$all" "$(jq -r '.cpu | to_entries | map(select(.value >= 0.001)) | map("\(.key) \(.value * 1000 | round / 10)") | join("; ")' <<<"$found")"
  [[ $2 != 0 ]] || return 0
  report "orders a second then" "$(jq '.events / .seconds | round' <<<"$found")"
  report "CPU of an order then, µs" "$(jq '([.cpu[]] | add) * .seconds / .events * 1e6 | round' <<<"$found")" \
    "$(jq -r '. as $all | .cpu | to_entries | map(select(.value >= 0.001)) | map("\(.key) \(.value * $all.seconds / $all.events * 1e6 | round)") | join("; ")' <<<"$found")"
  report "done for an order then" 1 "$(jq -r '.counts as $c | $c | to_entries | map(select(.key != "events")) | map("\(.key | sub("counterflow_"; "")) \(.value / $c.events * 100 | round / 100)") | join("; ")' <<<"$found")"
}

cost 'at rest' 0
for rate in 100 600; do cost "at $rate orders/s" "$rate"; done
cost 'at the maximum' full
cost 'at half of the maximum' "$(($(commands) / 2))"

# What 100 operations a second cost that do next to nothing: an HTTP request with a constant answer, and pgbench's insert.
# spent PID: the CPU of a process in µs per operation, over 10 s.
spent() {
  local before
  before=$(cpu "$1")
  sleep 10
  echo "$(($(cpu "$1") - before))"
}
start_service query-service-constant constant-answer query ANSWER_SIZE=542 HTTP_PORT="$(kept_port constant)"
"$binaries/loadtest" read --path /v1/constant/order-1 --rate 100 --duration 14 --warm-up 0 --visibility 0 \
  --commands "$COMMAND_URL" --queries "http://127.0.0.1:$(kept_port constant)" >"$local_dir/tmp/loadtest" 2>&1 &
load_pid=$!
sleep 2
report 'CPU of an HTTP request with a constant answer at 100/s, µs' "$(spent "$(pid query-service-constant)")"
wait "$load_pid" || fail "the load failed: $(tail -n 5 "$local_dir/tmp/loadtest")"
yardstick >/dev/null
"$pgbench" -n -M prepared -f "$root/scripts/lib/yardstick.sql" -c 1 -R 100 -T 14 yardstick >/dev/null 2>&1 &
load_pid=$!
sleep 2
report 'CPU of an insert by pgbench at 100/s, PostgreSQL alone, µs' \
  "$(spent "$(admin_psql yardstick -At -c "select pid from pg_stat_activity where application_name = 'pgbench' limit 1")")"
wait "$load_pid"
