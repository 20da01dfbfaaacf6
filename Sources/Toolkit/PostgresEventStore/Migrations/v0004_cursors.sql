-- How far the relay's integration feed has come, and where a restored store began anew.

-- Where the store ended when its incarnation began; null when that was at its start.
alter table event_store.identity add column restored_position bigint;

create table event_store.cursors (
  name text primary key,
  incarnation uuid not null,
  position bigint not null check (position >= 0),
  event_id uuid,
  updated_at timestamptz not null default clock_timestamp(),
  check ((position = 0) = (event_id is null))
);
