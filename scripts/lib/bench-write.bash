# The write path. Sourced by scripts/bench.

source "$root/scripts/lib/bench-store.bash"
figure 'orders over HTTP ÷ yardstick, relay and projector running' commands
placed=$(orders)
started=$(date +%s.%N)
report 'orders that the slowest read model was behind at the end of it' "$((placed - $(serving)))"
wait_until 60 applied_all || fail 'the projector did not keep up'
report 'seconds until it had caught up' "$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $started }")"

for service in relay-1 projector-1 reactor-1; do stop_service "$service"; done
figure 'orders over HTTP ÷ yardstick, relay, projector and reactor stopped' commands
report 'resident memory of command-service after that, MB' "$(memory "$(pid command-service-1)")"

maximum=$(commands)
offer "$((maximum / 2))" "$((seconds * 2))" --json "$local_dir/tmp/offered"
for percent in 50 99; do
  report "p$percent at half of that rate, ms" "$(jq ".trials[0].latency.p$percent" "$local_dir/tmp/offered")" "$((maximum / 2))/s"
done

against 'one hot product, 2 replicas ÷ 1 replica' 'hot 1' 'hot 2'
against 'one hot product, 4 replicas ÷ 1 replica' 'hot 1' 'hot 4'

# The same with a long history. The vacuum that filling causes is not a cost of an append, so it runs first.
fill() {
  "$benchmark" --fill "$1" >/dev/null
  admin_psql counterflow_write -c 'vacuum analyze' -c 'checkpoint' >/dev/null
}
fill "$events"
figure "orders over HTTP ÷ yardstick, stopped, $events events in the store" commands
large=()
for _ in $(seq "$rounds"); do large+=("$(append 200)"); done
admin_psql postgres -c 'drop database counterflow_write with (force)'
make_database counterflow_write
"$binaries/counterflow" migrate >/dev/null
fill 100000
for size in 1 50 200; do figure "events without HTTP, batches of $size ÷ yardstick" append "$size"; done
small=()
for _ in $(seq "$rounds"); do small+=("$(append 200)"); done
middle_large=$(printf '%s\n' "${large[@]}" | median) middle_small=$(printf '%s\n' "${small[@]}" | median)
report "$events events in the store ÷ 100000, batches of 200" "$(ratio "$middle_large" "$middle_small")" "$middle_large/$middle_small"

