# How far both stores are. Sourced by what scripts/bench sources.

read_sql() { admin_psql counterflow_read -At -c "$1"; }
write_sql() { admin_psql counterflow_write -At -c "$1"; }
head_position() { write_sql 'select coalesce(max(position), 0) from event_store.events'; }
# All but these are orders.
others=$(write_sql "select count(*) from event_store.events where stream not like 'order-%'")
orders() { echo "$(($(head_position) - others))"; }
# Orders that every read model of orders has.
serving() {
  read_sql "select case when count(*) = 2 then min(applied) else 0 end from (
    select sum(l.applied) as applied from projections.applied l join projections.generations g using (projection, generation)
    where g.state = 'serving' and projection in ('orders', 'sales') group by projection) a"
}
applied_all() { (($(serving) >= placed)); }
