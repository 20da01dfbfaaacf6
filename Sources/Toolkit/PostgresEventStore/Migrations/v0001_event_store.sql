-- The write store: events in one order, the responses to commands, snapshots, and the relay's lease and cursors.

create schema event_store;

create function event_store.server_identity(out system_identifier bigint, out timeline text)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select c.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) from pg_control_system() c
$$;

-- One row: the identity of the history. A restored store gets another history id.
create table event_store.identity (
  singleton boolean primary key default true check (singleton),
  history_id uuid not null default gen_random_uuid(),
  -- The server that holds this history, as of the migration or the last `counterflow restore-finished`.
  system_identifier bigint,
  timeline text,
  -- The number of positions in one partition of event_store.events.
  partition_size bigint not null default 10000000 check (partition_size > 0),
  -- The store's last position when this history id began; null for its first history id.
  restored_position bigint
);
insert into event_store.identity (system_identifier, timeline)
select s.system_identifier, s.timeline from event_store.server_identity() s;

-- The version and the positions of each stream, so that readers and expected versions need not search the partitions.
create table event_store.streams (
  stream text collate "C" primary key check (octet_length(stream) between 3 and 255),
  version bigint not null check (version > 0),
  first_position bigint not null check (first_position > 0),
  last_position bigint not null check (last_position >= first_position + version - 1)
) with (fillfactor = 85);

-- Partitions are ranges of positions.
create table event_store.events (
  position bigint not null check (position > 0),
  stream text collate "C" not null check (octet_length(stream) between 3 and 255),
  version bigint not null check (version > 0),
  hash integer not null check (hash between 0 and 65535),
  id uuid not null,
  type text not null check (octet_length(type) between 1 and 255),
  schema_version integer not null check (schema_version > 0),
  data json not null,
  metadata json not null,
  recorded_at timestamptz not null,
  primary key (position)
) partition by range (position);

-- A partition of a projection has one or several of the 64 ranges of `hash >> 10`.
create index events_by_bucket on event_store.events ((hash >> 10), position);

create function event_store.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'events are never changed or removed' using errcode = 'restrict_violation';
end
$$;
create trigger events_are_immutable before update or delete on event_store.events
  for each row execute function event_store.refuse_change();
create trigger events_are_kept before truncate on event_store.events
  for each statement execute function event_store.refuse_change();

create table event_store.partitions (
  -- Positions from lower to upper - 1.
  lower bigint primary key check (lower > 0),
  upper bigint not null unique check (upper > lower)
);

-- Adds the next partition. Attaching it takes a lock that blocks neither readers nor appends.
create function event_store.add_partition() returns void language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  start bigint := coalesce((select max(p.upper) from event_store.partitions p), 1);
  size bigint := (select i.partition_size from event_store.identity i);
  name text := format('events_%s', start);
begin
  execute format('create table event_store.%I (like event_store.events including all)', name);
  -- With the versions in event_store.streams, this ensures that no version occurs twice.
  execute format('alter table event_store.%I add unique (stream, version)', name);
  execute format('create trigger events_are_kept before truncate on event_store.%I
    for each statement execute function event_store.refuse_change()', name);
  execute format('alter table event_store.events attach partition event_store.%I for values from (%s) to (%s)',
    name, start, start + size);
  insert into event_store.partitions values (start, start + size);
end
$$;

select event_store.add_partition();

-- The responses to commands that took effect. Rejections are not stored: a repeated command is decided again.
create table event_store.idempotency_keys (
  scope text collate "C" not null check (octet_length(scope) <= 255),
  key text collate "C" not null check (octet_length(key) between 1 and 255),
  -- The first 128 bits of the SHA-256 of the request.
  fingerprint uuid not null,
  response text not null,
  recorded_at timestamptz not null,
  -- Whether command-service made the key, since the client sent none. Such a key is kept for a short time.
  is_generated boolean not null default false,
  -- Keys come first, so that keys that are ordered in time stay together.
  primary key (key, scope)
);
-- For the removal of old keys, if it is set up. The index costs next to nothing to maintain.
create index idempotency_keys_by_time on event_store.idempotency_keys using brin (recorded_at);
-- Ordered by age, so that the removal of the oldest keys reads only these.
create index idempotency_keys_generated on event_store.idempotency_keys (recorded_at) where is_generated;

-- The states of long streams, so that loading a stream does not read all its events. A snapshot counts only while its
-- last event is there.
create table event_store.snapshots (
  stream text collate "C" not null,
  -- The version of the fold and of the state's form.
  schema_version integer not null,
  version bigint not null check (version > 0),
  position bigint not null,
  event_id uuid not null,
  state json not null,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (stream, schema_version)
);

-- Only the relay that holds the lease publishes.
create table event_store.leases (
  name text primary key,
  holder uuid not null,
  expires_at timestamptz not null
);

-- How far the relay's feeds have published.
create table event_store.cursors (
  name text primary key,
  history_id uuid not null,
  position bigint not null check (position >= 0),
  event_id uuid,
  updated_at timestamptz not null default clock_timestamp(),
  check ((position = 0) = (event_id is null))
);

-- Commands to be carried out later. A row is inserted by the append of the command that schedules it, and removed by the
-- append that carries it out.
create table event_store.deadlines (
  id uuid primary key,
  due_at timestamptz not null,
  -- The name of the command's type.
  command text not null,
  data json not null,
  -- Of the command that scheduled it.
  metadata json not null,
  scheduled_at timestamptz not null,
  -- When it is tried again after an error that is not its own; null before that.
  retry_at timestamptz,
  -- Since when and why it waits for a person; null while it waits for its time.
  failed_at timestamptz,
  error text
);
create index deadlines_due on event_store.deadlines (due_at) where failed_at is null;
create index deadlines_failed on event_store.deadlines (failed_at) where failed_at is not null;

-- Every attempt at a call of an effect. event_store.begin_attempt adds the rows.
create table event_store.effect_attempts (
  -- The idempotency key that the call hands on.
  key text collate "C" not null check (octet_length(key) between 1 and 255),
  attempt integer not null check (attempt > 0),
  effect text collate "C" not null,
  stream text collate "C" not null,
  position bigint not null check (position > 0),
  -- When the call begins. With a limit of the rate this may lie ahead.
  started_at timestamptz not null,
  -- null while it runs, and for good if its process died.
  finished_at timestamptz,
  outcome text check (outcome in ('succeeded', 'failed', 'gave up', 'interrupted')),
  error text,
  -- When the next attempt is due; null if there is none.
  retry_at timestamptz,
  -- Whether the engine knows the outcome.
  is_noted boolean not null default false,
  primary key (key, attempt),
  check ((finished_at is null) = (outcome is null))
);
-- For the limit of an effect's rate.
create index effect_attempts_by_effect on event_store.effect_attempts (effect, started_at);
-- For the removal of old attempts.
create index effect_attempts_by_time on event_store.effect_attempts using brin (started_at);
