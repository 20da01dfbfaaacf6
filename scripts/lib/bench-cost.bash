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
    *) "$binaries/loadtest" write --commands "$COMMAND_URL" --queries "$QUERY_URL" --rate "$1" --duration "$((window + 3))" >"$local_dir/tmp/loadtest" 2>&1 & ;;
  esac
  load_pid=$!
}
# cost NAME RATE: reports the CPU of each process in % of one core, and the operations per order.
cost() {
  local all found
  offered "$2"
  sleep 2
  found=$(/usr/bin/python3 "$root/scripts/lib/cost.py" "$run_dir" "$window")
  [[ $2 == 0 ]] || wait "$load_pid" || fail "the load failed: $(tail -n 5 "$local_dir/tmp/loadtest")"
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
