-- The write path: streams with their versions, idempotency keys, snapshots, range partitions by position,
-- and one append function that the services' roles may call and cannot go around.

-- Which server holds this history, as of the migration or the last `counterflow restore-finished`.
alter table event_store.identity
  add column system_identifier bigint,
  add column timeline text,
  -- Events in one partition of event_store.events.
  add column partition_size bigint not null default 10000000 check (partition_size > 0);

create function event_store.server_identity(out system_identifier bigint, out timeline text)
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select c.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) from pg_control_system() c
$$;

update event_store.identity set (system_identifier, timeline) = (select s.system_identifier, s.timeline from event_store.server_identity() s);

-- What a stream's readers and guards need to know, so that neither looks for it in the partitions.
create table event_store.streams (
  stream text collate "C" primary key check (octet_length(stream) between 3 and 255),
  version bigint not null check (version > 0),
  first_position bigint not null check (first_position > 0),
  last_position bigint not null check (last_position >= first_position + version - 1)
) with (fillfactor = 85);

insert into event_store.streams
select stream, max(version), min(position), max(position) from event_store.events group by stream order by min(position);

-- Events move into range partitions by position; what was there becomes the first.
alter table event_store.events rename to events_1;
alter index event_store.events_pkey rename to events_1_pkey;
alter index event_store.events_by_bucket rename to events_1_by_bucket;
drop trigger events_are_immutable on event_store.events_1;

create table event_store.events (like event_store.events_1 including constraints) partition by range (position);
alter table event_store.events add primary key (position);
create index events_by_bucket on event_store.events ((hash >> 10), position);
create trigger events_are_immutable before update or delete on event_store.events
  for each row execute function event_store.refuse_change();
create trigger events_are_kept before truncate on event_store.events
  for each statement execute function event_store.refuse_change();

create table event_store.partitions (
  -- Positions from lower to upper - 1.
  lower bigint primary key check (lower > 0),
  upper bigint not null unique check (upper > lower)
);

insert into event_store.partitions
select 1, (coalesce(max(position), 0) / i.partition_size + 1) * i.partition_size + 1
from event_store.identity i left join event_store.events_1 on true group by i.partition_size;
do $$
begin
  execute format('alter table event_store.events attach partition event_store.events_1 for values from (1) to (%s)',
    (select upper from event_store.partitions));
end
$$;

-- Adds the next partition. Attaching takes a lock that readers and appends do not mind.
create function event_store.add_partition() returns void language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  start bigint := (select max(p.upper) from event_store.partitions p);
  size bigint := (select i.partition_size from event_store.identity i);
  name text := format('events_%s', start);
begin
  execute format('create table event_store.%I (like event_store.events including all)', name);
  -- Together with the versions in event_store.streams: no version twice.
  execute format('alter table event_store.%I add unique (stream, version)', name);
  execute format('create trigger events_are_kept before truncate on event_store.%I
    for each statement execute function event_store.refuse_change()', name);
  execute format('alter table event_store.events attach partition event_store.%I for values from (%s) to (%s)',
    name, start, start + size);
  insert into event_store.partitions values (start, start + size);
end
$$;

-- What commands that took effect were answered. Rejections are not here: asked again they are decided again.
create table event_store.idempotency_keys (
  scope text collate "C" not null check (octet_length(scope) <= 255),
  key text collate "C" not null check (octet_length(key) between 1 and 255),
  -- Of the request: the first 128 bits of its SHA-256.
  fingerprint uuid not null,
  answer text not null,
  recorded_at timestamptz not null,
  -- Keys first: those that are ordered in time stay together.
  primary key (key, scope)
);
-- For the retention, if there is one; next to nothing to maintain.
create index idempotency_keys_by_time on event_store.idempotency_keys using brin (recorded_at);

-- Removes some keys that are older than that.
create function event_store.forget_keys(older_than timestamptz, at_most integer) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from event_store.idempotency_keys k
    where k.ctid = any(array(
      select o.ctid from event_store.idempotency_keys o where o.recorded_at < older_than limit at_most))
    returning 1)
  select count(*) from gone
$$;

-- States of long streams, so that loading one does not read all of it. A state counts only while the
-- event that it ends with is there.
create table event_store.snapshots (
  stream text collate "C" not null,
  -- Of the fold and of the state's form.
  schema_version integer not null,
  version bigint not null check (version > 0),
  position bigint not null,
  event_id uuid not null,
  state json not null,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (stream, schema_version)
);

drop function event_store.append;

-- Appends a batch of commands in one step, or nothing of it.
--
-- Nothing is appended when a guarded stream has another version than its guard says (conflict_…: what it
-- has), or when a command that brings events has a key that is known (known_…: which, counted from 1, and
-- what was answered then). history is not null when the store is not the one that the caller knows.
--
-- Appenders take turns on an advisory lock that is held until the commit: positions are dense, and are
-- seen in order. The lock is a statement of its own, so that those after it have a newer snapshot.
create function event_store.append(
  -- The history that the caller knows: an incarnation, and an event that is in it (position 0: none).
  known_incarnation uuid, seen_position bigint, seen_id uuid,
  guard_streams text[], guard_versions bigint[],
  -- A null answer stands for a rejection. Where answer_offsets is not null, U+0001 in the answer becomes
  -- the position of the batch's event with that offset.
  command_scopes text[], command_keys text[], command_fingerprints uuid[], command_events integer[],
  command_answers text[], answer_offsets integer[],
  event_streams text[], event_hashes integer[], event_ids uuid[], event_types text[],
  event_schema_versions integer[], event_data text[], event_metadata text[],
  out first_position bigint, out recorded timestamptz, out incarnation uuid, out history text,
  out conflict_streams text[], out conflict_versions bigint[],
  out known_commands integer[], out known_fingerprints uuid[], out known_answers text[],
  -- Somebody else holds a turn, which an append without one may have made vain.
  out contended boolean
) language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  -- Plans made while the tables were empty would scan them for ever.
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
  -- A wait that outlives its client ends by itself.
  set lock_timeout = '30s'
as $$
declare
  last_position bigint;
  last_id uuid;
  last_recorded timestamptz;
  upper bigint;
  has_known boolean;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'append needs read committed' using errcode = 'active_sql_transaction';
  end if;
  if current_setting('fsync') <> 'on' or current_setting('synchronous_commit') = 'off' then
    raise exception 'fsync and synchronous_commit must be on: an acknowledged event must survive a crash'
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  perform pg_advisory_xact_lock(7310029201180266610);

  select i.incarnation into append.incarnation from event_store.identity i where i.singleton;
  select e.position, e.id, e.recorded_at into last_position, last_id, last_recorded
  from event_store.events e order by e.position desc limit 1;
  last_position := coalesce(last_position, 0);
  if append.incarnation is distinct from known_incarnation then
    history := 'another incarnation';
    return;
  end if;
  if seen_position > 0 and not (last_position = seen_position and last_id = seen_id) and not exists (
    select from event_store.events e where e.position = seen_position and e.id = seen_id) then
    history := format('event %s at position %s is gone; the store ends at %s', seen_id, seen_position, last_position);
    return;
  end if;

  select array_agg(u.ordinal::integer), array_agg(k.fingerprint), array_agg(k.answer), bool_or(u.events > 0)
  into known_commands, known_fingerprints, known_answers, has_known
  from unnest(command_scopes, command_keys, command_events) with ordinality as u(scope, key, events, ordinal)
  join event_store.idempotency_keys k on k.key = u.key and k.scope = u.scope;

  select array_agg(u.stream), array_agg(coalesce(s.version, 0)) into conflict_streams, conflict_versions
  from unnest(guard_streams, guard_versions) as u(stream, version)
  left join event_store.streams s on s.stream = u.stream
  where coalesce(s.version, 0) <> u.version;

  contended := not pg_try_advisory_xact_lock_shared(7310029201180266611);
  first_position := last_position + 1;
  recorded := greatest(clock_timestamp(), last_recorded);
  if conflict_streams is not null or has_known then
    return;
  end if;

  if cardinality(event_streams) > 0 then
    last_position := last_position + cardinality(event_streams);
    select max(p.upper) into upper from event_store.partitions p;
    -- Made ahead of time: when the last one is half full.
    while last_position >= upper - (select i.partition_size / 2 from event_store.identity i where i.singleton) loop
      perform event_store.add_partition();
      select max(p.upper) into upper from event_store.partitions p;
    end loop;

    insert into event_store.streams as s (stream, version, first_position, last_position)
    select u.stream, count(*), append.first_position + min(u.ordinal) - 1, append.first_position + max(u.ordinal) - 1
    from unnest(event_streams) with ordinality as u(stream, ordinal)
    group by u.stream
    on conflict (stream) do update
    set version = s.version + excluded.version, last_position = excluded.last_position;

    insert into event_store.events
      (position, stream, version, hash, id, type, schema_version, data, metadata, recorded_at)
    select append.first_position + u.ordinal - 1, u.stream,
      s.version + 1 - row_number() over (partition by u.stream order by u.ordinal desc),
      u.hash, u.id, u.type, u.schema_version, u.data::json, u.metadata::json, recorded
    from unnest(event_streams, event_hashes, event_ids, event_types, event_schema_versions, event_data, event_metadata)
      with ordinality as u(stream, hash, id, type, schema_version, data, metadata, ordinal)
    join event_store.streams s on s.stream = u.stream;

    perform pg_notify('event_store', last_position::text);
  end if;

  if cardinality(command_keys) > 0 then
    insert into event_store.idempotency_keys (scope, key, fingerprint, answer, recorded_at)
    select u.scope, u.key, u.fingerprint,
      case when u.place is null then u.answer
        else replace(u.answer, chr(1), (append.first_position + u.place)::text) end,
      recorded
    from unnest(command_scopes, command_keys, command_fingerprints, command_answers, answer_offsets)
      with ordinality as u(scope, key, fingerprint, answer, place, ordinal)
    where u.answer is not null and (known_commands is null or u.ordinal <> all(known_commands));
  end if;
end
$$;

-- Streams that several replicas write at once: who holds the turn decides on what is new, so that the
-- others need not decide in vain. A hint: false when the turn is not had in time, and nothing depends on it.
create function event_store.take_turn() returns boolean language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  -- Longer than a holder can sleep. For this function alone: the commit, which takes a lock for its
  -- notification, must not hurry.
  set lock_timeout = '2s'
as $$
begin
  -- A holder that sleeps loses its turn, and its connection.
  perform set_config('idle_in_transaction_session_timeout', '1s', true);
  begin
    perform pg_advisory_xact_lock(7310029201180266611);
  exception when lock_not_available then
    return false;
  end;
  return true;
end
$$;
