-- The read store: generations of each read model's tables, how far each has come, and which events were applied.

create schema projections;

-- The shapes of each read model: empty tables (`NAME_shape`) that the tables of a generation are made like.
create table projections.shapes (
  projection text primary key,
  -- The version of the read model's code.
  version integer not null check (version > 0),
  tables text[] not null,
  -- The SQL that created them.
  definition text not null
);

-- One row per generation of a projection's tables. The rows of a table are in <table>_g<generation>, made like
-- <table>_shape. The view <table> shows the rows of the generation that serves.
create table projections.generations (
  projection text not null,
  generation integer not null check (generation > 0),
  -- The version of the projection's code. Workers run the generations of their own version.
  version integer not null check (version > 0),
  partition_count integer not null check (partition_count > 0),
  tables text[] not null,
  -- building: is being filled; serving: queries read it; kept: served before, and is still updated; past: ends at
  -- until_position.
  state text not null check (state in ('building', 'serving', 'kept', 'past')),
  until_position bigint check (until_position >= 0),
  -- A reaction leaves out the events up to here: they existed before it.
  from_position bigint not null default 0,
  -- The categories whose events it takes.
  categories text[] not null,
  -- Whether it serves as soon as it has caught up. Otherwise it serves when an operator says so.
  activates boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  activated_at timestamptz,
  primary key (projection, generation),
  check ((state = 'past') = (until_position is not null))
);
create unique index generations_serving on projections.generations (projection) where state = 'serving';
create unique index generations_building on projections.generations (projection) where state = 'building';

-- The last generation number. No number is used twice, even after a generation is deleted: workers identify
-- generations by it.
create table projections.numbers (
  projection text primary key,
  last integer not null check (last > 0)
);

-- Processes that run projections. A process that does not renew its row in time loses its assignments.
create table projections.workers (
  id uuid primary key,
  name text not null,
  -- The services that it runs, each as "projection@version/partitions".
  serves text[] not null,
  started_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);

-- One row per partition of a generation. Only its owner writes it, in the transaction that writes the rows: a worker
-- that has lost the assignment changes nothing. A commit updates this row alone, so the row also counts the events
-- applied in the block of positions where the checkpoint stands. The ledger has the earlier blocks.
create table projections.checkpoints (
  projection text not null,
  generation integer not null,
  partition integer not null,
  partition_count integer not null,
  -- The worker that runs it; null if there is none.
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

-- Where another version of a reaction took over that takes other categories: it takes the events after `position`.
create table projections.takeovers (
  projection text not null,
  generation integer not null,
  partition integer not null,
  position bigint not null,
  -- Those of the version before.
  categories text[] not null,
  ordinal integer not null,
  primary key (projection, generation, ordinal, partition)
);

-- Streams that stopped at an event that failed. That event and all later ones wait in the store.
create table projections.parked (
  projection text not null,
  generation integer not null,
  stream text collate "C" not null,
  partition integer not null,
  -- The event that failed.
  version bigint not null,
  position bigint not null,
  event_id uuid not null,
  event_type text not null,
  error text not null,
  attempts integer not null default 1,
  -- An operator's request: null, 'retry', or 'discard' of this one event. A worker asks for a retry by itself while the event
  -- is still being handled, and where a retry takes several transactions.
  request text check (request in ('retry', 'discard')),
  -- When a worker tries again by itself. Without a request and without this time the stream waits for a person.
  retry_at timestamptz,
  parked_at timestamptz not null default clock_timestamp(),
  tried_at timestamptz not null default clock_timestamp(),
  primary key (projection, generation, stream)
);

-- Events that wait behind the parked event of a process, whichever streams they are in. `stream` is that of the process.
create table projections.waiting (
  projection text not null,
  generation integer not null,
  stream text collate "C" not null,
  partition integer not null,
  position bigint not null,
  event_id uuid not null,
  primary key (projection, generation, stream, position)
);

-- Events that an operator discarded for a projection.
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

-- The applied events per block of 65,536 positions: their number, and the xor of the lower halves of their ids.
create table projections.ledger (
  projection text not null,
  generation integer not null,
  partition integer not null,
  block bigint not null,
  applied bigint not null,
  ids bigint not null,
  primary key (projection, generation, partition, block)
) with (fillfactor = 50);

-- All applied events, by blocks of positions.
create view projections.applied as
select projection, generation, partition, block, applied, ids from projections.ledger
union all
select projection, generation, partition, position >> 16, applied, ids from projections.checkpoints where applied <> 0;
