# The read path from the append to the read tables, and both feeds. Sourced by scripts/bench.

backlog=${backlog:-500000}
source "$root/scripts/lib/bench-store.bash"
cursor() { write_sql "select coalesce(max(position), 0) from event_store.cursors where name = '$1'"; }
now() { date +%s.%N; }
# until_holds CONDITION...: prints the seconds from $since until the condition holds, checked every 50 ms for at most
# 300 s.
until_holds() {
  local deadline=$((SECONDS + 300))
  until "$@"; do
    ((SECONDS < deadline)) || fail "not true within 300 s: $*"
    sleep 0.05
  done
  awk "BEGIN { printf \"%.2f\", $(now) - $since }"
}
per_second() { awk "BEGIN { printf \"%d\", $1 / $2 }"; }
measured() { # NAME EVENTS SECONDS YARDSTICK
  local rate
  rate=$(per_second "$2" "$3")
  report "$1" "$(ratio "$rate" "$4")" "$rate/$4"
}

stop_service projector-1
stop_service reactor-1
stop_service relay-1

# The live feed: a suspended relay resumes after many appends, and publishes all events.
base=$(yardstick)
start_service relay-2 relay relay LEASE_DURATION=300 RELAY_JUMP_DISTANCE=1000000000 INTEGRATION_FEED=off
"$benchmark" 1 200 >/dev/null
sleep 2
kill -STOP "$(pid relay-2)"
before=$(cursor live)
"$benchmark" --fill "$(($(head_position) + 300000))" >/dev/null
end=$(head_position)
since=$(now)
kill -CONT "$(pid relay-2)"
published_live() { (($(cursor live) >= end)); }
elapsed=$(until_holds published_live)
measured 'live feed relayed, events/s ÷ yardstick' "$((end - before))" "$elapsed" "$base"
report 'resident memory of relay after that, MB' "$(memory "$(pid relay-2)")"
kill -TERM "$(cat "$run_dir/relay-2.supervisor")"
sleep 2
write_sql 'delete from event_store.leases' >/dev/null

# The integration feed into one quorum queue.
base=$(yardstick)
/usr/bin/python3 - <<'PYTHON'
import os
import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.exchange_declare("counterflow.events", "topic", durable=True)
channel.queue_declare("bench", durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind("bench", "counterflow.events", "#")
connection.close()
PYTHON
end=$(head_position)
start_service relay-3 relay relay LEASE_DURATION=1
published() { (($(cursor integration) > 20000)); }
since=$(now)
until_holds published >/dev/null
before=$(cursor integration) since=$(now)
published() { (($(cursor integration) >= before + 150000 || $(cursor integration) >= end)); }
elapsed=$(until_holds published)
measured 'integration feed, confirmed messages/s ÷ yardstick' "$(($(cursor integration) - before))" "$elapsed" "$base"
/usr/bin/python3 -c 'import os, pika; c = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])); c.channel().queue_delete("bench"); c.close()'
all_published() { (($(cursor integration) >= $(head_position))); }
since=$(now)
until_holds all_published >/dev/null

# Catching up with a backlog from empty tables.
"$benchmark" --fill "$backlog" >/dev/null
since=$(now)
until_holds all_published >/dev/null
admin_psql counterflow_write -c 'vacuum analyze' >/dev/null
base=$(yardstick)
total=$(head_position)
placed=$(orders)
since=$(now)
start_service projector-2 projector projector
elapsed=$(until_holds applied_all)
measured "backlog of $total events caught up into all read tables, events/s ÷ yardstick" "$total" "$elapsed" "$base"
report 'resident memory of projector after that, MB' "$(memory "$(pid projector-2)")"
alone=$(cpu "$(pid projector-2)")

# The same with two projectors, each on its own core. The CPU time of each shows its speed on an undisturbed core.
stop_service projector-2
admin_psql postgres -c 'drop database counterflow_read with (force)'
make_database counterflow_read
"$binaries/counterflow" migrate >/dev/null
start_service projector-2 projector projector
start_service projector-3 projector projector
for number in 2 3; do taskset -a -c -p "$((number % $(nproc)))" "$(pid "projector-$number")" >/dev/null; done
since=$(now)
until_holds applied_all >/dev/null
first=$(cpu "$(pid projector-2)") second=$(cpu "$(pid projector-3)")
report 'backlog, CPU of one projector ÷ that of the busier of two' "$(ratio "$alone" "$((first > second ? first : second))")" \
  "$alone ms alone" "$first ms and $second ms together"
stop_service projector-3
taskset -a -c -p "0-$(($(nproc) - 1))" "$(pid projector-2)" >/dev/null
sleep 3

# Saturation: events are appended at full speed and projected at the same time.
saturation() {
  local before elapsed
  before=$(orders)
  since=$(now)
  "$benchmark" "$seconds" 200 >/dev/null
  placed=$(orders)
  elapsed=$(until_holds applied_all)
  per_second "$((placed - before))" "$elapsed"
}
figure 'append to all read tables at saturation, 1 projector, events/s ÷ yardstick' saturation
start_service projector-3 projector projector
sleep 3
figure 'append to all read tables at saturation, 2 projectors, events/s ÷ yardstick' saturation
stop_service projector-3

# Rebuilds.
base=$(yardstick)
total=$(head_position)
since=$(now)
for projection in orders catalogue; do
  "$binaries/counterflow" rebuild "$projection" >"$local_dir/tmp/rebuild.$projection" || fail "the rebuild failed: $(cat "$local_dir/tmp/rebuild.$projection")"
done
elapsed=$(until_holds true)
filled=$(sed -n 's/.* events, \([0-9]*\)\/s.*/\1/p' "$local_dir/tmp/rebuild.orders" | tail -n 1)
report "orders filled anew, events/s ÷ yardstick" "$(ratio "$filled" "$base")" "$filled/$base"
measured "rebuild of all read tables with $total events, compared and activated, events/s ÷ yardstick" "$total" "$elapsed" "$base"
for projection in orders catalogue; do "$binaries/counterflow" rebuild "$projection" --discard 1 >/dev/null; done

# The time from acknowledgement to readable, one order after another: on an idle system, and under a fixed load.
read -r p50 p99 count < <(readable "$((seconds * 2))" --pause)
report 'acknowledged to readable on an idle system, p50, ms' "$p50" "$count orders"
report 'acknowledged to readable on an idle system, p99, ms' "$p99" "$count orders"
maximum=$(commands)
for share in 10 2; do
  offer "$((maximum / share))" "$((seconds * 2 + 2))" &
  load_pid=$!
  sleep 1
  read -r p50 p99 count < <(readable "$((seconds * 2))")
  wait "$load_pid"
  report "acknowledged to readable at 1/$share of the maximum rate, p50, ms" "$p50" "$((maximum / share))/s, $count orders"
  report "acknowledged to readable at 1/$share of the maximum rate, p99, ms" "$p99" "$((maximum / share))/s, $count orders"
done
report 'resident memory of relay at the end, MB' "$(memory "$(pid relay-3)")"
report 'resident memory of projector at the end, MB' "$(memory "$(pid projector-2)")"
"$binaries/counterflow" verify --sample 4 >"$local_dir/tmp/verify" || fail "$(cat "$local_dir/tmp/verify")"
