-- Partitions of events that were written to files (docs/archive.md). The archived events are always the first ones: those
-- before the lowest row of event_store.partitions.
create table event_store.archives (
  -- Positions from lower to upper - 1.
  lower bigint primary key check (lower > 0),
  upper bigint not null unique check (upper > lower),
  -- The history id when the file was written.
  history_id uuid not null,
  -- Where the file was written, and its name there.
  location text not null,
  file text not null,
  -- The SHA-256 of the whole file, in hexadecimal digits.
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  archived_at timestamptz not null default clock_timestamp()
);

-- The last event of each of the 64 ranges of hashes in each archived partition. A checkpoint may stand at such an event,
-- and it shows whether a reader has missed any that are archived. It has the columns of event_store.events.
create table event_store.archived_heads (
  position bigint primary key,
  stream text collate "C" not null,
  version bigint not null,
  hash integer not null,
  id uuid not null,
  type text not null,
  schema_version integer not null,
  data json not null,
  metadata json not null,
  recorded_at timestamptz not null
);
create index archived_heads_by_bucket on event_store.archived_heads ((hash >> 10), position);
