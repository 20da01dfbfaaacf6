-- The write store: events, in one order, appended by one function.

create schema event_store;

-- One row: which history this is. A restored store gets another incarnation.
create table event_store.identity (
  singleton boolean primary key default true check (singleton),
  incarnation uuid not null default gen_random_uuid()
);
insert into event_store.identity default values;

create table event_store.events (
  position bigint primary key check (position > 0),
  stream text collate "C" not null check (octet_length(stream) between 3 and 255),
  version bigint not null check (version > 0),
  hash integer not null check (hash between 0 and 65535),
  id uuid not null,
  type text not null check (octet_length(type) between 1 and 255),
  schema_version integer not null check (schema_version > 0),
  data json not null,
  metadata json not null,
  recorded_at timestamptz not null,
  unique (stream, version)
);

-- Reading by partition: a partition is one or several of the hash's 64 upper ranges.
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

-- Appends events in one step if every guarded stream has the version that the guard says.
-- Appenders take turns on an advisory lock that is held until the commit: positions are dense, and are
-- seen in order. The lock is a statement of its own, so that those after it have a newer snapshot.
create function event_store.append(
  guard_streams text[], guard_versions bigint[],
  event_streams text[], event_hashes integer[], event_ids uuid[], event_types text[],
  event_schema_versions integer[], event_data text[], event_metadata text[],
  out first_position bigint, out recorded timestamptz, out conflict_streams text[], out conflict_versions bigint[]
) language plpgsql volatile
  -- A plan made while the tables were empty would scan them for ever.
  set enable_seqscan = off
as $$
declare
  last_recorded timestamptz;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'append needs read committed' using errcode = 'active_sql_transaction';
  end if;
  perform pg_advisory_xact_lock(7310029201180266610);

  select array_agg(g.stream), array_agg(g.actual) into conflict_streams, conflict_versions
  from (
    select u.stream, u.version, coalesce((
      select e.version from event_store.events e where e.stream = u.stream order by e.version desc limit 1), 0) as actual
    from unnest(guard_streams, guard_versions) as u(stream, version)
  ) g
  where g.actual <> g.version;

  select e.position, e.recorded_at into first_position, last_recorded
  from event_store.events e order by e.position desc limit 1;
  first_position := coalesce(first_position, 0) + 1;
  recorded := greatest(clock_timestamp(), last_recorded);

  if conflict_streams is not null or cardinality(event_streams) = 0 then
    return;
  end if;

  insert into event_store.events
    (position, stream, version, hash, id, type, schema_version, data, metadata, recorded_at)
  select first_position + u.ordinal - 1, u.stream, b.version + row_number() over (partition by u.stream order by u.ordinal),
    u.hash, u.id, u.type, u.schema_version, u.data::json, u.metadata::json, recorded
  from unnest(event_streams, event_hashes, event_ids, event_types, event_schema_versions, event_data, event_metadata)
    with ordinality as u(stream, hash, id, type, schema_version, data, metadata, ordinal)
  join (
    select s.stream, coalesce((
      select e.version from event_store.events e where e.stream = s.stream order by e.version desc limit 1), 0) as version
    from (select distinct unnest(event_streams) as stream) s
  ) b on b.stream = u.stream;

  perform pg_notify('event_store', (first_position + cardinality(event_streams) - 1)::text);
end
$$;

-- Only one relay publishes, and only one of other such roles acts, at a time: who holds the lease.
create table event_store.leases (
  name text primary key,
  holder uuid not null,
  expires_at timestamptz not null
);
