# The feed of Examples/Social: a reader follows 1,000 of 2,000 authors, who have published 100,000 posts. Sourced by
# scripts/bench.

for service in relay-1 projector-1 query-service-1 command-service-1; do stop_service "$service"; done
have_products social
make_database social
social_port=$(free_port)
social=http://127.0.0.1:$social_port
DATABASE_URL=postgres://counterflow:$PGPASSWORD@127.0.0.1:$PGPORT/social HTTP_PORT=$social_port LOG_LEVEL=warning \
  "$binaries/social" dev >"$log_dir/social.log" 2>&1 &
social_pid=$!
trap 'kill "$social_pid" 2>/dev/null; "$root/scripts/down" --quiet' EXIT
is_social_ready() { curl -sf -m 2 -o /dev/null "$social/readyz"; }
wait_until 60 is_social_ready || fail "social did not start; see $log_dir/social.log"

say 'publishing 100,000 posts'
python3 "$root/scripts/lib/fill-social.py" "$social" || fail "the posts could not be published; see $log_dir/social.log"
are_posts_read() { [[ $(psql -X -At -d social -c 'select count(*) from read_models.posts') == 100000 ]]; }
wait_until 300 are_posts_read || fail "the posts do not reach the read tables:
$(psql -X -d social -c 'select count(*) from read_models.posts' -c 'select projection, mode, halted_at, error, count(*), min(position),
  max(position), count(owner) from projections.checkpoints group by 1, 2, 3, 4' -c 'select * from projections.parked' -c 'select * from projections.workers' 2>&1)"
psql -X -q -d social -c 'vacuum analyze'

# milliseconds PATH: the median latency of sequential requests.
milliseconds() {
  printf '%s\n' "$1" >"$local_dir/tmp/paths"
  wrk -t 1 -c 1 -d "$seconds" -s "$root/scripts/lib/wrk-read.lua" "$social" >"$local_dir/tmp/feed"
  ! grep -q 'Non-2xx' "$local_dir/tmp/feed" || fail "not all requests succeeded: $(cat "$local_dir/tmp/feed")"
  awk '/^latency_us/ { printf "%.1f", $2 / 1000 }' "$local_dir/tmp/feed"
}
export LIMIT=1 PATHS=$local_dir/tmp/paths
page() { curl -sf -m 30 "$social/v1/people/reader/feed?limit=100${1:+&cursor=$1}" | jq -r .nextCursor; }
cursor=
for _ in $(seq 250); do cursor=$(page "$cursor"); done
[[ $cursor != null ]] || fail 'the feed ended early'
first=() middle=()
for _ in $(seq "$rounds"); do
  first+=("$(milliseconds '/v1/people/reader/feed?limit=20')")
  middle+=("$(milliseconds "/v1/people/reader/feed?limit=20&cursor=$cursor")")
done
report 'the newest 20 of 1,000 authors among 100,000 posts, ms' "$(printf '%s\n' "${first[@]}" | median)" "${first[@]}"
report 'the 20 behind 25,000 of the feed, ms' "$(printf '%s\n' "${middle[@]}" | median)" "${middle[@]}"
