-- The read store: how far each projection has come. The read models' own tables are theirs.

create schema projections;

-- One row per (projection, partition). It is written in the transaction that writes the rows, and only
-- by its owner: a worker that has lost the pair changes nothing.
create table projections.checkpoints (
  projection text not null,
  partition integer not null,
  partition_count integer not null,
  owner uuid not null,
  incarnation uuid not null,
  position bigint not null check (position >= 0),
  event_id uuid,
  updated_at timestamptz not null default clock_timestamp(),
  -- Where and why the pair stopped; null while it runs.
  halted_at bigint,
  error text,
  primary key (projection, partition),
  check (partition >= 0 and partition < partition_count),
  check ((position = 0) = (event_id is null))
);

create table projections.leases (
  name text primary key,
  holder uuid not null,
  expires_at timestamptz not null
);
