# A private PostgreSQL cluster and a private RabbitMQ node under $local_dir. Source after common.bash.
# They have their own ports, data and Erlang port mapper, and do not touch a server that already runs.

# With SERVERS_ROOT the servers run in that root folder, where PostgreSQL and RabbitMQ are installed. This needs root.

pg_bin() {
  local newest
  newest=$(ls -d "${SERVERS_ROOT:-}"/usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
  [[ -n $newest ]] && echo "${newest#"${SERVERS_ROOT:-}"}" || dirname "$(command -v postgres)"
}

# exec_as USER COMMAND...: replaces the script by the command; as root, the command runs as USER.
exec_as() {
  local user=$1 top=${local_dir#/}
  shift
  if [[ -n ${SERVERS_ROOT:-} ]]; then
    # The mounts belong to this process and end with it. Paths below $local_dir are the same inside.
    # shellcheck disable=SC2016
    exec unshare --mount bash -euc '
      mkdir -p "$1/$2"
      for folder in proc dev "$2"; do mount --rbind "/$folder" "$1/$folder"; done
      exec chroot --userspec="$3:$3" "$1" "${@:4}"' bash "$SERVERS_ROOT" "${top%%/*}" "$user" "$@"
  elif ((EUID == 0)) && [[ $user != root ]]; then
    exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"
  fi
  exec "$@"
}

# PostgreSQL refuses to run as root, so root runs it as the user postgres.
as_postgres_user() { (exec_as postgres "$@"); }

give_to_postgres() {
  ((EUID != 0)) || chown -R "$(awk -F: '$1 == "postgres" { print $3 ":" $4 }' "${SERVERS_ROOT:-}/etc/passwd")" "$@"
}

# A self-signed certificate for localhost.
make_certificate() { # FOLDER
  mkdir -p "$1"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$1/key" -out "$1/certificate" 2>/dev/null
}

make_postgres() {
  local data=$local_dir/postgres password_file
  [[ -s $data/PG_VERSION ]] && return
  rm -rf "$data"
  mkdir -p "$data"
  give_to_postgres "$data"
  as_postgres_user test -w "$data" ||
    fail "the user postgres cannot read $data: move the checkout to a folder that this user can read, or set COUNTERFLOW_LOCAL to one"
  chmod 700 "$data"
  password_file=$(mktemp -p "$local_dir")
  secret postgres >"$password_file"
  give_to_postgres "$password_file"
  as_postgres_user "$(pg_bin)/initdb" -D "$data" --username=counterflow --pwfile="$password_file" \
    --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256 --no-instructions >"$log_dir/initdb.log" 2>&1 || {
    rm -f "$password_file"
    cat "$log_dir/initdb.log" >&2
    fail 'initdb failed'
  }
  rm -f "$password_file"
  if [[ -n ${POSTGRES_TLS:-} ]]; then
    make_certificate "$local_dir/tls"
    chmod 600 "$local_dir/tls/key"
    give_to_postgres "$local_dir/tls"
    # Only TLS connections are accepted.
    sed -i 's/^host /hostssl /' "$data/pg_hba.conf"
    printf '%s\n' 'ssl = on' "ssl_cert_file = '$local_dir/tls/certificate'" "ssl_key_file = '$local_dir/tls/key'" \
      >>"$data/postgresql.conf"
  fi
}

# Processes of a server that was killed end by themselves, and PostgreSQL does not start on their data before.
await_end_of_killed() { # DATA
  local deadline=$((SECONDS + 30))
  [[ -e $1/postmaster.pid ]] || return 0
  while ((SECONDS < deadline)) && [[ -n $(find /proc -maxdepth 2 -name cwd -lname "$1" -print -quit 2>/dev/null) ]]; do
    sleep 0.1
  done
}

# Runs PostgreSQL in the foreground, on the data and the port of that name.
exec_postgres() { # [NAME]
  local name=${1:-postgres}
  local data=$local_dir/$name
  await_end_of_killed "$data"
  cd "$data"
  # shellcheck disable=SC2086
  exec_as postgres "$(pg_bin)/postgres" -D "$data" -p "$(kept_port "$name")" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= -c max_connections=1000 -c shared_buffers=256MB ${POSTGRES_OPTIONS:-}
}

admin_url() { echo "postgres://counterflow:$(secret postgres)@127.0.0.1:$(kept_port postgres)/${1:-postgres}"; }
# The URL of a server with POSTGRES_TLS.
secure_admin_url() { echo "postgres://counterflow:$(secret postgres)@localhost:$(kept_port postgres)/postgres?sslmode=verify-full&sslrootcert=$local_dir/tls/certificate"; }

# Runs psql on a database, without the password in its arguments.
admin_psql() {
  local database=$1
  shift
  PGPASSWORD=$(secret postgres) psql -X -q -h 127.0.0.1 -p "$(kept_port postgres)" -U counterflow -d "$database" \
    -v ON_ERROR_STOP=1 "$@"
}

is_postgres_ready() { admin_psql postgres -c 'select 1'; }

make_database() {
  [[ $(admin_psql postgres -At -c "select count(*) from pg_database where datname = '$1'") == 1 ]] ||
    admin_psql postgres -c "create database \"$1\""
}

rabbitmq_environment() {
  local base=$local_dir/rabbitmq
  mkdir -p "$base"
  export HOME=$base RABBITMQ_MNESIA_BASE=$base/data RABBITMQ_LOG_BASE=$log_dir RABBITMQ_LOGS=-
  export RABBITMQ_NODENAME=counterflow-$(kept_port amqp)@localhost RABBITMQ_CONF_ENV_FILE=$base/none
  export RABBITMQ_CONFIG_FILE=$base/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$base/enabled_plugins
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$(kept_port amqp)
  export RABBITMQ_DIST_PORT=$(kept_port erlang) ERL_EPMD_PORT=$(kept_port epmd) ERL_EPMD_ADDRESS=127.0.0.1
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
  # The private node must not read the machine's own configuration.
  unset RABBITMQ_BASE RABBITMQ_USE_LONGNAME
}

make_rabbitmq() {
  local base=$local_dir/rabbitmq password
  password=$(secret rabbitmq)
  mkdir -p "$base"
  echo '[rabbitmq_management].' >"$base/enabled_plugins"
  : >"$base/none"
  (
    umask 077
    cat >"$base/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$(kept_port amqp)
management.tcp.ip = 127.0.0.1
management.tcp.port = $(kept_port management)
default_user = counterflow
default_pass = $password
default_vhost = /
loopback_users.counterflow = true
# A node on a developer's disk is no reason to block publishers before 64 MB are left.
disk_free_limit.absolute = 64MB
vm_memory_high_watermark.relative = 0.4
CONF
    if [[ -n ${RABBITMQ_TLS:-} ]]; then
      make_certificate "$base/tls"
      cat >>"$base/rabbitmq.conf" <<CONF
listeners.ssl.1 = 127.0.0.1:$(kept_port amqps)
ssl_options.certfile = $base/tls/certificate
ssl_options.keyfile = $base/tls/key
ssl_options.verify = verify_none
CONF
    fi
  )
}

# Runs RabbitMQ in the foreground.
exec_rabbitmq() {
  rabbitmq_environment
  cd "$HOME"
  # As under systemd: the script becomes the Erlang VM by exec, so that the pid is the broker's own.
  export RUNNING_UNDER_SYSTEMD=1
  exec_as root /usr/lib/rabbitmq/bin/rabbitmq-server
}

amqp_url() { echo "amqp://counterflow:$(secret rabbitmq)@127.0.0.1:$(kept_port amqp)/${1:-%2F}"; }
# The URL of a server with RABBITMQ_TLS.
amqps_url() { echo "amqps://counterflow:$(secret rabbitmq)@localhost:$(kept_port amqps)/${1:-%2F}?cacertfile=$local_dir/rabbitmq/tls/certificate"; }
management_url() { echo "http://127.0.0.1:$(kept_port management)"; }

is_rabbitmq_ready() {
  # The configuration on standard input keeps the password out of the arguments.
  printf 'user = "counterflow:%s"\n' "$(secret rabbitmq)" |
    curl -sf -m 2 -K - "$(management_url)/api/aliveness-test/%2F" &&
    (exec 3<>"/dev/tcp/127.0.0.1/$(kept_port amqp)")
}

# Stops the port mapper that the node started.
stop_port_mapper() {
  ERL_EPMD_PORT=$(kept_port epmd) epmd -kill >/dev/null 2>&1 || true
}

# The URL of a database for the role of a service.
service_url() { # ROLE DATABASE
  echo "postgres://counterflow_$1:$(secret "postgres-$1")@127.0.0.1:$(kept_port postgres)/$2"
}

# stop_service NAME: stops the service and waits until it has ended.
stop_service() {
  [[ -s $run_dir/$1.supervisor ]] || return 0
  kill -TERM "$(cat "$run_dir/$1.supervisor")"
  wait_until 30 is_stopped "$1" || fail "$1 did not stop within 30 s"
}
is_stopped() { [[ ! -e $run_dir/$1.supervisor ]]; }

# start_service NAME EXECUTABLE ROLE [VARIABLE=VALUE...]: starts one more process of a service with its own supervisor;
# $binaries is the folder of the executable.
start_service() {
  local name=$1 executable=$2 role=$3
  shift 3
  (
    # Exported by the shell itself, so that no secret is in the arguments of a process.
    export WRITE_DATABASE_URL READ_DATABASE_URL AMQP_URL AUTH=${AUTH:-off} CONSISTENCY_TOKEN_KEY HTTP_HOST=127.0.0.1 HTTP_PORT=0
    WRITE_DATABASE_URL=$(service_url "$role" counterflow_write) READ_DATABASE_URL=$(service_url "$role" counterflow_read)
    CONSISTENCY_TOKEN_KEY=$(secret consistency-token)
    (($# == 0)) || export "$@"
    exec setsid "$root/scripts/lib/supervise" "$name" "$binaries/$executable"
  ) >/dev/null 2>&1 </dev/null &
  sleep 1
}
