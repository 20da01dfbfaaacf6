# Attacks on the read side. Sourced by scripts/chaos.

have_products counterflow projector
counterflow() { "$binaries/counterflow" "$@"; }
export WRITE_DATABASE_URL READ_DATABASE_URL AMQP_URL
management() { # METHOD PATH
  printf 'user = "counterflow:%s"\n' "$(secret rabbitmq)" | curl -s -m 5 -K - -X "$1" "$(management_url)/api/$2" || true
}
curl -sf -m 10 -o /dev/null -H 'Content-Type: application/json' -d '{"sku":"LANTERN","name":"Lantern","unitPrice":339,"tracksStock":false}' \
  "$COMMAND_URL/v1/products" || fail 'the product was not registered'

echo '{"customerId":"ada","lines":[{"sku":"LANTERN","quantity":1}]}' >"$work/order.json"
# Orders at a fixed rate until the end; orders that a dead server refuses do not count.
{
  end=$((SECONDS + seconds))
  while ((SECONDS < end)); do
    h2load --h1 -c 16 -t 1 -D 10 --rps 20 -H 'Content-Type: application/json' \
      -d "$work/order.json" "$COMMAND_URL/v1/orders" >/dev/null 2>&1 || sleep 1
  done
} &
load=$!

# Samples the age of the oldest event that a serving projection has not applied.
{
  while kill -0 "$load" 2>/dev/null; do
    counterflow status --json 2>/dev/null | jq -r '[.generations[] | select(.state == "serving") | .lagMs] | max' >>"$work/lags" || true
    sleep 1
  done
} &
watcher=$!
trap 'kill "$load" "$watcher" 2>/dev/null || true; "$root/scripts/down" --quiet' EXIT

alive_projector() { # a random one
  local names=("$run_dir"/projector-*.pid)
  basename "${names[RANDOM % ${#names[@]}]}" .pid
}
# Fails while RabbitMQ is away, or if no projector has a queue.
attack_queue() { "$root/scripts/lib/attack-queue" "$1" / >/dev/null 2>&1; }
deck=()
attacks=0
extra=0
deadline=$((SECONDS + seconds))
declare -A count=()
while ((SECONDS < deadline)) && kill -0 "$load" 2>/dev/null; do
  sleep "$((RANDOM % 6 + 3))"
  victim=$(alive_projector)
  pid=$(cat "$run_dir/$victim.pid" 2>/dev/null) || continue
  # All attacks once in random order, then again, so that none is left out.
  ((${#deck[@]})) || mapfile -t deck < <(shuf -i 0-12)
  attack=${deck[0]}
  deck=("${deck[@]:1}")
  case $attack in
    0 | 1) what="SIGKILL of $victim" && kill -KILL "$pid" ;;
    2 | 3 | 4)
      what="SIGSTOP of $victim for 8 s"
      kill -STOP "$pid"
      (sleep 8 && kill -CONT "$pid" 2>/dev/null) &
      ;;
    5)
      if ((extra == 0)); then
        what='one projector more' extra=1
        start_service projector-4 projector projector
      else
        what='one projector less' extra=0
        kill -TERM "$(cat "$run_dir/projector-4.supervisor")" 2>/dev/null || true
        kill -CONT "$(cat "$run_dir/projector-4.pid" 2>/dev/null)" 2>/dev/null || true
      fi
      ;;
    6) what='the live exchange deleted' && management DELETE 'exchanges/%2F/counterflow.live' >/dev/null ;;
    7)
      what='all connections to RabbitMQ closed'
      management GET connections | { jq -r '.[].name | @uri' 2>/dev/null || true; } | while read -r name; do management DELETE "connections/$name"; done >/dev/null
      ;;
    8)
      what='RabbitMQ killed, its data removed'
      kill -KILL "$(cat "$run_dir/rabbitmq.pid")" 2>/dev/null || continue
      rm -rf "$local_dir/rabbitmq/data"
      ;;
    9)
      what='SIGKILL of PostgreSQL'
      kill -KILL "$(cat "$run_dir/postgres.pid")" 2>/dev/null || continue
      wait_until 60 is_postgres_ready || fail 'PostgreSQL was not started again'
      ;;
    10) what='a queue purged' && attack_queue purge || continue ;;
    11) what='a queue deleted' && attack_queue delete || continue ;;
    12) what='a consumer cancelled by the broker' && attack_queue cancel || continue ;;
  esac
  attacks=$((attacks + 1))
  count[${what%% of *}]=$((${count[${what%% of *}]:-0} + 1))
  say "$((deadline - SECONDS)) s left: $what"
done
wait "$load" || true
wait "$watcher" || true
sleep 9

say "after $attacks attacks:"
for what in "${!count[@]}"; do printf '  %4d  %s\n' "${count[$what]}" "$what"; done
wait_until 60 is_postgres_ready || fail 'PostgreSQL did not come back'
caught_up() { counterflow status --json | jq -e '[.generations[] | select(.state == "serving") | .lagEvents] | add == 0' >/dev/null; }
since=$SECONDS
wait_until 120 caught_up || {
  counterflow status >&2 || true
  fail 'the projections have not caught up in 120 s'
}
say "caught up after $((SECONDS - since)) s; $(store 'select max(position) from event_store.events') events"
say "the longest that an event waited for its row: $(sort -n "$work/lags" | tail -n 1) ms"
counterflow status || failures=$((failures + 1))
counterflow verify || failures=$((failures + 1))
compare_positions
compare 'there was load: more events than 20 a second' t "$(store "select count(*) > $seconds * 20 from event_store.events")"
((failures == 0)) || fail "something differs; logs are in $log_dir"
say 'Every projection is complete and correct.'
