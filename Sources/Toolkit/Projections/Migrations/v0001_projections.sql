-- The read store: generations of each read model's tables, how far each has come, and what was applied.

create schema projections;

-- How each read model's tables are made. A generation's tables are made like these, empty, ones (`NAME_shape`).
create table projections.shapes (
  projection text primary key,
  -- Of the read model's code.
  version integer not null check (version > 0),
  tables text[] not null,
  -- SQL that made them.
  definition text not null
);

-- One row per generation of a projection's tables; each table's rows are in <table>_g<generation>, made like
-- <table>_shape, and the view <table> shows those of the generation that serves.
create table projections.generations (
  projection text not null,
  generation integer not null check (generation > 0),
  -- Of the projection's code: workers run the generations of their own version.
  version integer not null check (version > 0),
  partition_count integer not null check (partition_count > 0),
  tables text[] not null,
  -- building: is being filled; serving: queries see it; kept: served before, and is still kept up;
  -- past: ends at until_position.
  state text not null check (state in ('building', 'serving', 'kept', 'past')),
  until_position bigint check (until_position >= 0),
  -- Serves as soon as it has caught up; otherwise when somebody says so.
  activates boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  activated_at timestamptz,
  primary key (projection, generation),
  check ((state = 'past') = (until_position is not null))
);
create unique index generations_serving on projections.generations (projection) where state = 'serving';
create unique index generations_building on projections.generations (projection) where state = 'building';

-- The last number that was given to a generation. No number is given twice, though generations go: workers know them by it.
create table projections.numbers (
  projection text primary key,
  last integer not null check (last > 0)
);

-- Processes that run projections. One that does not renew its row in time loses its assignments.
create table projections.workers (
  id uuid primary key,
  name text not null,
  -- Of what it runs: "projection@version/partitions".
  serves text[] not null,
  started_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);

-- One row per partition of a generation. It is written in the transaction that writes the rows, and only by its owner: a
-- worker that has lost the assignment changes nothing. A commit updates this one row: it also has what was applied in the
-- block of positions that the checkpoint stands in; the ledger has the blocks before that.
create table projections.checkpoints (
  projection text not null,
  generation integer not null,
  partition integer not null,
  partition_count integer not null,
  -- The worker that runs it; null for none.
  owner uuid,
  mode text not null default 'catching up',
  history_id uuid not null,
  position bigint not null check (position >= 0),
  event_id uuid,
  updated_at timestamptz not null default clock_timestamp(),
  -- Where and why it stopped; null while it runs.
  halted_at bigint,
  error text,
  applied bigint not null default 0,
  ids bigint not null default 0,
  primary key (projection, generation, partition),
  check (partition >= 0 and partition < partition_count),
  check ((position = 0) = (event_id is null))
) with (fillfactor = 50);

-- Streams that stopped at an event that was refused: that event and all later ones wait in the store.
create table projections.parked (
  projection text not null,
  generation integer not null,
  stream text collate "C" not null,
  partition integer not null,
  -- The event that was refused.
  version bigint not null,
  position bigint not null,
  event_id uuid not null,
  event_type text not null,
  error text not null,
  attempts integer not null default 1,
  -- What somebody wants done: null, 'retry', or 'discard' of this one event.
  request text check (request in ('retry', 'discard')),
  parked_at timestamptz not null default clock_timestamp(),
  tried_at timestamptz not null default clock_timestamp(),
  primary key (projection, generation, stream)
);

-- Events that somebody gave up for a projection.
create table projections.discarded (
  projection text not null,
  generation integer not null,
  stream text collate "C" not null,
  partition integer not null,
  version bigint not null,
  position bigint not null,
  event_id uuid not null,
  error text not null,
  discarded_at timestamptz not null default clock_timestamp(),
  primary key (projection, generation, position)
);

-- What was applied, per block of 65,536 positions: how many events, and their ids' lower halves, xor-ed.
create table projections.ledger (
  projection text not null,
  generation integer not null,
  partition integer not null,
  block bigint not null,
  applied bigint not null,
  ids bigint not null,
  primary key (projection, generation, partition, block)
) with (fillfactor = 50);

-- All that was applied, by blocks of positions.
create view projections.applied as
select projection, generation, partition, block, applied, ids from projections.ledger
union all
select projection, generation, partition, position >> 16, applied, ids from projections.checkpoints where applied <> 0;
