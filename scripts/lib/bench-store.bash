# The progress of both stores. Sourced by other files of scripts/bench.

read_sql() { admin_psql counterflow_read -At -c "$1"; }
write_sql() { admin_psql counterflow_write -At -c "$1"; }
head_position() { write_sql 'select coalesce(max(position), 0) from event_store.events'; }
# All other events are orders.
others=$(write_sql "select count(*) from event_store.events where stream not like 'order-%'")
orders() { echo "$(($(head_position) - others))"; }
# The number of orders that all read models of orders have applied.
serving() {
  read_sql "select case when count(*) = 2 then min(applied) else 0 end from (
    select sum(l.applied) as applied from projections.applied l join projections.generations g using (projection, generation)
    where g.state = 'serving' and projection in ('orders', 'sales') group by projection) a"
}
applied_all() { (($(serving) >= placed)); }
