# Shared by the scripts. Source it after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The folder of everything that the scripts make: data, logs, pids, secrets.
local_dir=${COUNTERFLOW_LOCAL:-$root/.local}
[[ $local_dir == /* ]] || local_dir=$PWD/$local_dir
run_dir=$local_dir/run
log_dir=$local_dir/log

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "'$*' needs root: run it as root, or install sudo"
  fi
}

# Installs missing Debian packages without starting their system-wide servers.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "apt-get is missing, so install these packages yourself, then run again: ${missing[*]}"
  say "installing ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d own_policy=false
  if [[ ! -e $policy ]]; then
    own_policy=true
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local status=0
  { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log_dir/apt.log" 2>&1 || status=$?
  if $own_policy; then as_root rm -f "$policy"; fi
  ((status == 0)) || fail "installing failed; see $log_dir/apt.log"
}

# Installs the requirements of the build and of the two servers.
prepare_machine() {
  mkdir -p "$run_dir" "$log_dir" "$local_dir/tmp"
  # Compilers leave files in these folders.
  export TMPDIR=$local_dir/tmp XDG_CACHE_HOME=$root/.build/cache
  chmod 755 "$local_dir"
  install_packages postgresql postgresql-client rabbitmq-server libpq-dev librabbitmq-dev libcurl4-openssl-dev pkg-config \
    curl openssl procps
  command -v swift >/dev/null || fail 'swift is not on the PATH: install Swift 6.3 or newer (https://swift.org/install)'
}

# A folder for each port that was given away during the last day: what will listen there may not have started yet, or be down.
port_claims=/tmp/counterflow-ports-$UID

# A port that nobody listens on, and that no other call gives to anybody meanwhile.
free_port() {
  local port
  mkdir -p -m 700 "$port_claims" || fail "$port_claims cannot be made"
  find "$port_claims" -mindepth 1 -maxdepth 1 -mmin +1440 -delete 2>/dev/null || true
  for _ in $(seq 200); do
    port=$((20000 + RANDOM % 12000))
    is_port_free "$port" && mkdir "$port_claims/$port" 2>/dev/null && { echo "$port"; return; }
  done
  fail "no free port found between 20000 and 32000; $port_claims has a folder for each one that is given away"
}

is_port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A secret that is generated once and that only its owner can read.
secret() { kept secrets/"$1" openssl rand -hex 24; }

# A port that is chosen once.
kept_port() { kept ports/"$1" free_port; }

# kept FILE COMMAND...: prints the output of the command's first run. Concurrent first calls get the same output.
kept() {
  local file=$local_dir/$1 new
  shift
  if [[ ! -e $file ]]; then
    new=$(umask 077 && mkdir -p "${file%/*}" && mktemp "$file.XXXXXX")
    "$@" >"$new" || { rm "$new"; return 1; }
    ln "$new" "$file" 2>/dev/null || true
    rm "$new"
  fi
  cat "$file"
}

is_alive() { [[ -s $1 ]] && kill -0 "$(cat "$1")" 2>/dev/null; }

# wait_until SECONDS COMMAND …: repeats the command until it succeeds or the time is over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}
