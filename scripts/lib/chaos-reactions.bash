# Attacks on reactions, deadlines and mails. Sourced by scripts/chaos.

have_products counterflow reactor
# The reactor that handles an order's event decides which deadline the order has.
start_service reactor-2 reactor reactor PAYMENT_DEADLINE=8
start_service reactor-3 reactor reactor PAYMENT_DEADLINE=20
say "seed $seed; the same choices again: scripts/chaos --reactions --orders $orders --seconds $seconds --seed $seed"
/usr/bin/python3 -B "$root/scripts/lib/chaos_reactions" "$seed" "$orders" "$seconds" "$mail_port" &
clients=$!
trap 'kill "$clients" 2>/dev/null || true; "$root/scripts/down" --quiet' EXIT
wait "$clients" || fail "something differs, with seed $seed; logs are in $log_dir"
say 'Every reaction took effect exactly once.'
