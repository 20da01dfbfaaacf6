# The read path: queries over HTTP on a store with many orders. Sourced by scripts/bench.

orders=${orders:-200000}
export LIMIT=$orders PATHS=$local_dir/tmp/paths
# The yardstick of reads: selects of whole rows by key, from 16 clients.
psql -X -q -d yardstick -c 'create table selects (position bigserial primary key, stream text not null, version bigint not null,
  type text not null, data jsonb not null, recorded_at timestamptz not null default now(), unique (stream, version))' \
  -c "insert into selects (stream, version, type, data)
  select 'order-' || gen_random_uuid(), 1, 'OrderPlaced', '{\"total\":1}' from generate_series(1, 100000)" -c 'vacuum analyze selects'
cat >"$local_dir/tmp/select.sql" <<'SQL'
\set p random(1, 100000)
select * from selects where position = :p;
SQL
selects() {
  "$pgbench" -n -M prepared -f "$local_dir/tmp/select.sql" -c 16 -j 2 -T "$seconds" yardstick 2>/dev/null |
    sed -n 's/^tps = \([0-9]*\).*/\1/p'
}
# reads URL PATH...: requests a second with 64 connections; p50 and p99 in ms go to $local_dir/tmp/latency.
reads() {
  local url=$1 report
  shift
  printf '%s\n' "$@" >"$PATHS"
  report=$(wrk -t 1 -c 64 -d "$seconds" -s "$root/scripts/lib/wrk-read.lua" "$url")
  ! grep -q 'Non-2xx' <<<"$report" || fail "not all requests succeeded: $report"
  awk '/^latency_us/ { printf "%.1f %.1f\n", $2 / 1000, $3 / 1000 }' <<<"$report" >"$local_dir/tmp/latency"
  sed -n 's/^Requests\/sec: *\([0-9]*\).*/\1/p' <<<"$report"
}

"$benchmark" --spread "$orders"
read_sql() { admin_psql counterflow_read -At -c "$1"; }
deadline=$((SECONDS + 300))
until [[ $(read_sql 'select count(*) from read_models.orders') == "$orders" ]]; do
  ((SECONDS < deadline)) || fail 'the orders do not reach the read tables'
  sleep 0.5
done
until [[ $(read_sql 'select sum(units) from read_models.sales_totals') == \
  "$(read_sql "select sum((l ->> 'quantity')::bigint) from read_models.orders, json_array_elements(document -> 'lines') l")" ]]; do
  ((SECONDS < deadline)) || fail 'the sums do not reach the read tables'
  sleep 0.5
done
admin_psql counterflow_read -c 'vacuum analyze' >/dev/null
size=$(curl -sf "$QUERY_URL/v1/orders/order-1" | wc -c)
start_service query-service-constant constant-answer query ANSWER_SIZE="$size" HTTP_PORT="$(kept_port constant)"
start_service query-service-cache query-service query QUERY_CACHE_MB=32 HTTP_PORT="$(kept_port cache)"
cache_url=http://127.0.0.1:$(kept_port cache)
constant_url=http://127.0.0.1:$(kept_port constant)

# As many orders as loadtest reads by default: all are soon in the cache.
cached() { LIMIT=5000 reads "$cache_url" '/v1/orders/order-{n}'; }
order() { reads "$QUERY_URL" '/v1/orders/order-{n}'; }
constant() { reads "$constant_url" '/v1/constant/order-{n}'; }
page() { reads "$QUERY_URL" $(printf '/v1/customers/customer-%d/orders?limit=20\n' $(seq 0 7 1999)); }
cache_ratios=() order_ratios=() order_constant=() page_ratios=()
for _ in $(seq "$rounds"); do
  base=$(selects) answer=$(constant) one=$(order) pages=$(page) kept=$(cached)
  cache_ratios+=("$(ratio "$kept" "$answer") ($kept/$answer)")
  order_ratios+=("$(ratio "$one" "$base") ($one/$base)")
  order_constant+=("$(ratio "$one" "$answer") ($one/$answer)")
  page_ratios+=("$(ratio "$pages" "$base") ($pages/$base)")
done
of() { printf '%s\n' "$@" | median; }
report 'order by id, no cache ÷ yardstick selects' "$(of "${order_ratios[@]}")" "${order_ratios[@]}"
report "order by id, no cache ÷ constant answer of $size bytes" "$(of "${order_constant[@]}")" "${order_constant[@]}"
report "order by id, with the cache, 5000 orders ÷ constant answer of $size bytes" "$(of "${cache_ratios[@]}")" "${cache_ratios[@]}"
report "customer's first page of 20 ÷ yardstick selects" "$(of "${page_ratios[@]}")" "${page_ratios[@]}"
rate=$(order)
read -r p50 p99 <"$local_dir/tmp/latency"
report 'order by id at 64 connections, p50, ms' "$p50" "$rate/s"
report 'order by id at 64 connections, p99, ms' "$p99" "$rate/s"
words=(lantern kettle mirror "red+candle" "wooden+clock" "silver" "lanturn" "ceramic+white+frame" "teapot" "amber")
rate=$(reads "$QUERY_URL" "${words[@]/#//v1/products?q=}")
read -r p50 p99 <"$local_dir/tmp/latency"
report 'search of products at 64 connections, p99, ms' "$p99" "$rate/s, p50 $p50"
rate=$(reads "$QUERY_URL" "${words[@]/#//v1/orders?q=}")
read -r p50 p99 <"$local_dir/tmp/latency"
report 'search of orders at 64 connections, p99, ms' "$p99" "$rate/s, p50 $p50"
rate=$(reads "$QUERY_URL" '/v1/orders?country=France' '/v1/orders?status=placed&from=2025-01-01')
read -r p50 p99 <"$local_dir/tmp/latency"
report 'orders of a country or a time at 64 connections, p99, ms' "$p99" "$rate/s, p50 $p50"
rate=$(reads "$QUERY_URL" '/v1/sales?interval=month' '/v1/sales?interval=month&country=France' '/v1/sales?interval=day&from=2025-01-01&to=2025-02-01')
read -r p50 p99 <"$local_dir/tmp/latency"
report 'sales per month or day at 64 connections, p99, ms' "$p99" "$rate/s, p50 $p50"
report 'resident memory of query-service after that, MB' "$(memory "$(pid query-service-1)")"

# 900 reads and 100 orders a second, with the cache and without it: the CPU of query-service per read.
looked_up() { curl -sf -m 10 "$cache_url/metrics" | awk "/^counterflow_query_cache_$1_total/ { sum += \$2 } END { print sum + 0 }"; }
mixed() { # URL NAME
  local before length=$((seconds * 2))
  before=$(cpu "$(pid "$2")")
  "$binaries/loadtest" mixed --rate 1000 --ratio 9 --duration "$length" --warm-up 0 --visibility 0 --commands "$COMMAND_URL" \
    --queries "$1" >"$local_dir/tmp/loadtest" 2>&1 || fail "the load failed: $(tail -n 5 "$local_dir/tmp/loadtest")"
  echo "$((($(cpu "$(pid "$2")") - before) * 1000 / (900 * length)))"
}
hits=$(looked_up hits) misses=$(looked_up misses)
against 'CPU of query-service per read at 900 reads and 100 orders a second, with the cache ÷ without' \
  'mixed "$QUERY_URL" query-service-1' 'mixed "$cache_url" query-service-cache'
hits=$(($(looked_up hits) - hits)) misses=$(($(looked_up misses) - misses))
report 'answers from the cache during that, % of its look-ups' "$((100 * hits / (hits + misses)))" "$hits of $((hits + misses))"

# Reads beside writes at half their maximum rate, and write then read with the token.
maximum=$(commands)
sleep 3
offer "$((maximum / 2))" "$((seconds * 3 + 4))" &
load_pid=$!
sleep 1
beside=$(order)
report 'order by id beside half the maximum of writes, requests/s' "$beside" "$((maximum / 2)) orders/s"
read -r p50 p99 count < <(readable "$((seconds * 2))" --token)
wait "$load_pid"
report 'write then read with the token beside them, p50, ms' "$p50" "$count orders"
report 'write then read with the token beside them, p99, ms' "$p99" "$count orders"
read -r p50 p99 count < <(readable "$seconds" --token)
report 'write then read with the token, p50, ms' "$p50" "$count orders"
report 'write then read with the token, p99, ms' "$p99" "$count orders"
# Write then read with the token, 10,000 times at full load and through random replicas: no response may be stale.
wrk -t 1 -c 32 -d 600 -s "$root/scripts/lib/wrk-order.lua" "$COMMAND_URL/v1/orders" >/dev/null &
load_pid=$!
/usr/bin/python3 "$root/scripts/lib/read-your-writes.py" 10000 16 "$COMMAND_URL" \
  "$QUERY_URL,$(cat "$run_dir/query-service-2.url")" | sed 's/^/  /' || fail 'an answer with a token was stale'
kill "$load_pid"
report 'resident memory of query-service at the end, MB' "$(memory "$(pid query-service-1)")"
