# The whole system with distant servers: each byte to and from PostgreSQL and RabbitMQ is delayed by a millisecond.
# Sourced by scripts/bench. The same proxy process is used with and without the delay.

for service in command-service-1 relay-1 projector-1; do stop_service "$service"; done
postgres_port=$(free_port) broker_port=$(free_port)
/usr/bin/python3 "$root/scripts/lib/delay.py" "$postgres_port:$(kept_port postgres)" "$broker_port:$(kept_port amqp)" &
delay_pid=$!
trap 'kill "$delay_pid" 2>/dev/null; "$root/scripts/down" --quiet' EXIT
sleep 1
at_a_distance() { # NAME EXECUTABLE [VARIABLE=VALUE...]
  start_service "$1" "$2" "${2%-service}" WRITE_DATABASE_URL="$(far "$2" counterflow_write)" \
    READ_DATABASE_URL="$(far "$2" counterflow_read)" AMQP_URL="${AMQP_URL/:$(kept_port amqp)/:$broker_port}" "${@:3}"
}
far() { # EXECUTABLE DATABASE
  local url
  url=$(service_url "${1%-service}" "$2")
  echo "${url/:$(kept_port postgres)/:$postgres_port}"
}
port=$(free_port)
at_a_distance command-service-2 command-service HTTP_PORT="$port"
at_a_distance relay-2 relay
at_a_distance projector-2 projector
COMMAND_URL=http://127.0.0.1:$port
wait_until 60 curl -sf -m 2 -o /dev/null "$COMMAND_URL/readyz" || fail 'command-service is not ready after 60 s'

source "$root/scripts/lib/bench-store.bash"
# Orders a second, counted until every read model has them.
saturation() { # SIGNAL
  local before since
  kill -s "$1" "$delay_pid"
  before=$(orders) since=$(date +%s.%N)
  commands >/dev/null
  placed=$(orders)
  wait_until 120 applied_all || fail 'the read models did not catch up'
  awk "BEGIN { printf \"%d\", ($placed - $before) / ($(date +%s.%N) - $since) }"
}
against 'orders over HTTP until all are readable, 1 ms to each server ÷ none' 'saturation USR1' 'saturation USR2'
