# Reactions: the time from an order until the mail server has accepted its mail, what each kind of reaction costs per order,
# and what a million scheduled commands cost. Sourced by scripts/bench.

install_packages python3-aiosmtpd
MANAGEMENT_URL=http://counterflow:$(secret rabbitmq)@127.0.0.1:$(kept_port management)
export MANAGEMENT_URL
rate=${rate:-200} customers=${customers:-500} outstanding=${outstanding:-1000000}
mail_port=$(free_port) mails=$local_dir/tmp/mails
ends() { /usr/bin/python3 "$root/scripts/lib/reactions.py" "$@"; }
/usr/bin/python3 "$root/scripts/lib/reactions.py" receive "$mail_port" "$mails" &
mail_pid=$!
# cost.py finds it there.
echo "$mail_pid" >"$run_dir/mail-server.pid"
trap 'kill "$mail_pid" 2>/dev/null; rm -f "$run_dir/mail-server.pid"; "$root/scripts/down" --quiet' EXIT
ends register "$COMMAND_URL" "$customers"
write_sql() { admin_psql counterflow_write -At -c "$1"; }

reactor_url=$(cat "$run_dir/reactor-1.url")
# with_reactor [VARIABLE=VALUE...]: replaces the reactor, and waits until it has reacted to everything.
with_reactor() {
  stop_service reactor-1
  start_service reactor-1 reactor reactor HTTP_PORT="${reactor_url##*:}" "$@"
  wait_until 60 curl -sf -m 2 -o /dev/null "$reactor_url/readyz" || fail 'reactor does not get ready'
  wait_until 120 has_reacted || fail 'reactor does not catch up'
}
has_reacted() {
  [[ $(write_sql "select bool_and(owner is not null) and max(position) filter (where projection = 'reaction/cancel-unpaid')
    = (select max(position) from event_store.events where stream like 'order-%') from projections.checkpoints") == t ]]
}
mail=(SMTP_URL="smtp://127.0.0.1:$mail_port") deadline=(PAYMENT_DEADLINE=86400)

# reacting NAME: reports p50 and p99 of the way to the mail server, and of the responses, in ms; medians of the rounds.
reacting() {
  local p50=() p99=() response50=() response99=() found
  for _ in $(seq "$rounds"); do
    read -ra found < <(ends offer "$COMMAND_URL" "$customers" "$rate" "$((seconds * 4 + 2))" "$mails")
    ((${#found[@]} == 6)) || fail 'not all orders led to a mail'
    response50+=("${found[0]}") response99+=("${found[1]}") p50+=("${found[3]}") p99+=("${found[4]}")
  done
  report "order to accepted mail, $1, p50, ms" "$(printf '%s\n' "${p50[@]}" | median)" "${p50[@]}"
  report "order to accepted mail, $1, p99, ms" "$(printf '%s\n' "${p99[@]}" | median)" "${p99[@]}"
  report "the responses to these orders, p50, ms" "$(printf '%s\n' "${response50[@]}" | median)" "${response50[@]}"
  report "the responses to these orders, p99, ms" "$(printf '%s\n' "${response99[@]}" | median)" "${response99[@]}"
}

window=$((seconds * 4 + 12))
# The mail server is not a part of the system.
everything='.cpu | del(."mail-server") | add'
# cost NAME: reports the CPU per order at the rate, all of it and by process.
cost() {
  local found
  ends offer "$COMMAND_URL" "$customers" "$rate" "$((window + 3))" >"$local_dir/tmp/offer" &
  load_pid=$!
  sleep 2
  found=$(/usr/bin/python3 "$root/scripts/lib/cost.py" "$run_dir" "$window")
  wait "$load_pid" || fail 'not all orders were accepted'
  report "CPU of an order, $1, µs" "$(jq "($everything) * .seconds / .events * 1e6 | round" <<<"$found")" \
    "$(jq -r '. as $all | .cpu | to_entries | map(select(.value >= 0.001)) | map("\(.key) \(.value * $all.seconds / $all.events * 1e6 | round)") | join("; ")' <<<"$found")"
  report "done for an order then" 1 "$(jq -r '.counts as $c | $c | to_entries | map(select(.key != "events")) | map("\(.key | sub("counterflow_"; "")) \(.value / $c.events * 100 | round / 100)") | join("; ")' <<<"$found")"
}

stop_service reactor-1
cost 'no reactor'
with_reactor
cost 'a reactor that appends and sends nothing'
with_reactor "${deadline[@]}"
cost 'deadlines'
with_reactor "${mail[@]}"
cost 'mails'
with_reactor "${deadline[@]}" "${mail[@]}"
cost 'deadlines and mails'
reacting "$rate/s, all running"
for service in relay-1 projector-1 query-service-1; do stop_service "$service"; done
reacting "$rate/s, command-service and reactor alone"

# Scheduled commands that are due in a year.
are_outstanding() { # COUNT
  write_sql 'truncate event_store.deadlines' >/dev/null
  write_sql "insert into event_store.deadlines (id, due_at, command, data, metadata, scheduled_at)
    select gen_random_uuid(), now() + interval '1 year' + n * interval '1 second', 'CancelOverdue',
      json_build_object('orderID', gen_random_uuid(), 'skus', array['LANTERN']), '{}', now() from generate_series(1, $1) n" >/dev/null
  admin_psql counterflow_write -c 'vacuum analyze event_store.deadlines' -c checkpoint >/dev/null
}
look() {
  write_sql "explain (analyze, buffers, format json) select id, command, data::text, metadata::text from event_store.deadlines
    where failed_at is null and due_at <= statement_timestamp() and (retry_at is null or retry_at <= statement_timestamp())
      and command = any('{CancelOverdue}') order by due_at limit 50" |
    jq -r '.[0] | "\(.Plan["Shared Hit Blocks"] + .Plan["Shared Read Blocks"]) \(.["Execution Time"])"'
}
resting() {
  /usr/bin/python3 "$root/scripts/lib/cost.py" "$run_dir" "$((window + 20))" |
    jq '[.cpu | .reactor, ."postgres for reactor"] | add * 1000 | round / 10'
}
stop_service command-service-1
for count in 0 "$outstanding"; do
  are_outstanding "$count"
  read -r blocks milliseconds < <(look)
  report "blocks of a look for what is due, $count outstanding" "$blocks" "$milliseconds ms"
  report "CPU of the reactor at rest, $count outstanding, % of one core" "$(resting)"
done
stop_service reactor-1
# scheduling COUNT BATCH: prints appended commands a second that schedule one each; p50 and p99 of an append go to a file.
scheduling() {
  are_outstanding "$1"
  "$benchmark" "$seconds" "$2" --scheduling >"$local_dir/tmp/scheduling"
  cut -d' ' -f4,6 "$local_dir/tmp/scheduling" >>"$local_dir/tmp/scheduling-$1-$2"
  cut -d' ' -f2 "$local_dir/tmp/scheduling"
}
rm -f "$local_dir"/tmp/scheduling-*
for batch in 1 200; do
  against "commands that schedule one each, $batch in an append, $outstanding outstanding ÷ none" \
    "scheduling 0 $batch" "scheduling $outstanding $batch"
  for count in 0 "$outstanding"; do
    for field in 1 2; do
      mapfile -t found < <(cut -d' ' -f"$field" "$local_dir/tmp/scheduling-$count-$batch")
      report "p$((field == 1 ? 50 : 99)) of such an append, $count outstanding, ms" "$(printf '%s\n' "${found[@]}" | median)" "${found[@]}"
    done
  done
done
