-- Keys that command-service made itself, since the client sent none: what was answered with them is kept for a short time.
-- Those of before this migration cannot be told from clients' keys, and count as such.
alter table event_store.idempotency_keys add column is_generated boolean not null default false;
-- In the order of their age, so that removing the oldest costs no more than they are.
create index idempotency_keys_generated on event_store.idempotency_keys (recorded_at) where is_generated;

-- It is not there yet where all migrations are applied at once.
drop function if exists event_store.append;
