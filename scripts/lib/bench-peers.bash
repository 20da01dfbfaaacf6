# Other systems and this one in turn, on the same machine and with the same durability. Sourced by scripts/bench.

peers=$local_dir/tmp/peers
umadb_pid='' crud_pid=''
trap '{ [[ -z $umadb_pid ]] || kill "$umadb_pid"; [[ -z $crud_pid ]] || kill "$crud_pid"; } 2>/dev/null; rm -rf "$peers"; "$root/scripts/down" --quiet' EXIT
rm -rf "$peers"
install_packages python3-venv
say 'installing eventsourcing, umadb, fastapi and asyncpg into a separate folder'
{ python3 -m venv "$peers/venv" &&
  "$peers/venv/bin/pip" install -q eventsourcing==9.5.6 'psycopg[binary,pool]' umadb==0.7.8 fastapi asyncpg 'uvicorn[standard]'; } \
  >"$log_dir/pip.log" 2>&1 || fail "installing failed; see $log_dir/pip.log"
python=$peers/venv/bin/python

for service in relay-1 projector-1 reactor-1; do stop_service "$service"; done
make_database peer_eventsourcing
make_database peer_crud
psql -X -q -d peer_crud -c 'create table products (sku text primary key, unit_price bigint not null)' \
  -c "insert into products values ('LANTERN', 339)" \
  -c 'create table orders (id text primary key, customer_id text not null, document json not null, placed_at timestamptz not null default now())'

crud_port=$(free_port) umadb_port=$(free_port)
CRUD_DATABASE_URL=postgres://counterflow:$PGPASSWORD@127.0.0.1:$PGPORT/peer_crud \
  "$python" -m uvicorn --app-dir "$root/scripts/lib/peers" --host 127.0.0.1 --port "$crud_port" --workers 2 --no-access-log \
  --log-level warning crud:app >"$log_dir/crud.log" 2>&1 &
crud_pid=$!
"$peers/venv/bin/umadb" --listen "127.0.0.1:$umadb_port" --db-path "$peers/umadb" >"$log_dir/umadb.log" 2>&1 &
umadb_pid=$!
crud=http://127.0.0.1:$crud_port
crud_answers() { curl -sf -m 2 -o /dev/null "$crud/openapi.json"; }
umadb_answers() { "$python" -c "import umadb; umadb.Client('http://127.0.0.1:$umadb_port').head()" 2>/dev/null; }
wait_until 30 crud_answers || fail "the service of FastAPI does not answer; see $log_dir/crud.log"
wait_until 30 umadb_answers || fail "umadb does not answer; see $log_dir/umadb.log"

python_events() { "$python" "$root/scripts/lib/peers/append_$1.py" "${@:2}" | cut -d' ' -f2; }
eventsourcing() {
  PERSISTENCE_MODULE=eventsourcing.postgres POSTGRES_DBNAME=peer_eventsourcing POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=$PGPORT \
    POSTGRES_USER=counterflow POSTGRES_PASSWORD=$PGPASSWORD python_events eventsourcing "$seconds" "$1"
}
umadb() { python_events umadb "http://127.0.0.1:$umadb_port" "$seconds" "$1"; }
orders() { load wrk-order "$1" "$COMMAND_URL/v1/orders"; }

against 'events without HTTP, one at a time by 2 writers, ÷ eventsourcing' 'eventsourcing 1' 'append 1'
against 'events without HTTP, batches of 50 by 2 writers, ÷ eventsourcing' 'eventsourcing 50' 'append 50'
against 'orders over HTTP, 1 client, ÷ conditional appends of umadb' 'umadb 1' 'orders 1'
against 'orders over HTTP, 16 clients, ÷ conditional appends of umadb' 'umadb 16' 'orders 16'
against 'orders over HTTP, 64 connections, ÷ FastAPI and asyncpg' "load wrk-order 64 $crud/orders" 'orders 64'

start_service projector-2 projector projector
body='{"customerId":"c-1029384","lines":[{"sku":"LANTERN","quantity":2}]}'
placed=$(curl -sf -m 10 -H 'Content-Type: application/json' -d "$body" "$COMMAND_URL/v1/orders" | jq -r .id) || fail 'the order was not placed'
row=$(curl -sf -m 10 -H 'Content-Type: application/json' -d "$body" "$crud/orders" | jq -r .id) || fail "the service of FastAPI did not take the order; see $log_dir/crud.log"
is_projected() { curl -sf -m 10 -o /dev/null "$QUERY_URL/v1/orders/$placed"; }
wait_until 300 is_projected || fail 'the order was not projected'
against 'an order by id over HTTP, no cache, 64 connections, ÷ FastAPI and asyncpg' "load '' 64 $crud/orders/$row" "load '' 64 $QUERY_URL/v1/orders/$placed"
