-- The functions of the archive. Applied after every migration, before the store's other functions, which use them.

-- Returns the last archived position; 0 if no event is archived.
create or replace function event_store.archived_position() returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(min(p.lower), 1) - 1 from event_store.partitions p
$$;

-- Fails with the state CF002: a reader needs archived events from a position on.
create or replace function event_store.refuse_archived(needed bigint) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'events up to % are archived; run `counterflow archive --attach %`',
    event_store.archived_position(), greatest(needed, 1) using errcode = 'CF002';
end
$$;

-- Returns the last archived event of a range of hashes; a row of nulls if there is none.
create or replace function event_store.archived_head(bucket integer) returns event_store.archived_heads
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select h.* from event_store.archived_heads h
  where (h.hash >> 10) = archived_head.bucket order by h.position desc limit 1
$$;

-- Removes the lowest partition, which is in a verified file of the given history, and records the file. Returns null if that is done;
-- otherwise the reason why the events must stay. The table stays, detached: event_store.drop_detached removes it.
create or replace function event_store.detach_partition(
  part bigint, of_history uuid, of_location text, of_file text, of_sha256 text
) returns text language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  name text := format('events_%s', part);
  next bigint;
  held text;
begin
  select p.upper into next from event_store.partitions p
  where p.lower = part and p.lower = (select min(f.lower) from event_store.partitions f) for update;
  if next is null then
    return format('partition %s is not the first one any more', part);
  end if;
  held := event_store.obstacle_to_archiving(next);
  if held is not null then
    return held;
  end if;
  if of_history is distinct from (select i.history_id from event_store.identity i) then
    return 'the store has another history than the file: run it again';
  end if;
  perform set_config('lock_timeout', '10s', true);
  -- A snapshot of archived events counts without its event. So one of another history must not stay.
  lock table event_store.snapshots in share row exclusive mode;
  delete from event_store.snapshots s
  where s.position >= part and s.position < next and not exists (
    select from event_store.events e
    where e.position = s.position and e.id = s.event_id and e.stream = s.stream and e.version = s.version);
  execute format('
    insert into event_store.archived_heads
    select h.* from generate_series(0, 63) as b(index)
    cross join lateral (
      select * from event_store.%I e where (e.hash >> 10) = b.index
      order by (e.hash >> 10) desc, e.position desc limit 1) h', name);
  insert into event_store.archives as a (lower, upper, history_id, location, file, sha256)
  values (part, next, of_history, of_location, of_file, of_sha256)
  on conflict (lower) do update set upper = excluded.upper, history_id = excluded.history_id,
    location = excluded.location, file = excluded.file, sha256 = excluded.sha256, archived_at = excluded.archived_at;
  delete from event_store.partitions p where p.lower = part;
  -- While this waits for the lock, readers and appends wait behind it.
  for attempt in 1..100 loop
    begin
      perform set_config('lock_timeout', '100ms', true);
      execute format('alter table event_store.events detach partition event_store.%I', name);
      return null;
    exception when lock_not_available then
      perform pg_sleep(0.1);
    end;
  end loop;
  raise exception 'readers of event_store.events do not end: run it again' using errcode = 'lock_not_available';
end
$$;

-- Returns why the positions before `next` may not be archived yet, as far as the write store knows; null if they may.
create or replace function event_store.obstacle_to_archiving(next bigint) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  held text;
begin
  select 'the write store is on another server than before, or has lost events: run restore-finished' into held
  from event_store.identity i, event_store.server_identity() s
  where i.lost_event is not null
    or (i.system_identifier, i.timeline) is distinct from (s.system_identifier, s.timeline);
  if held is null and not exists (select from event_store.events e where e.position >= next) then
    held := 'the last event of the store stays in it';
  end if;
  if held is null then
    -- The event at the cursor stays too: the relay looks at it when it starts.
    select format('the feed %s has published up to position %s: start the relay, or remove its row from '
      'event_store.cursors if nobody uses the feed any more and no relay will run again', c.name, c.position) into held
    from event_store.cursors c where c.position < next limit 1;
  end if;
  return held;
end
$$;

-- Drops the tables of archived partitions that are detached, once every transaction has ended that began before: a
-- function may still read such a table by its name. Returns how many remain.
create or replace function event_store.drop_detached() returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  name text;
  -- The transaction that detached it.
  removed xid;
  remaining bigint := 0;
begin
  for name, removed in
    select c.relname, a.xmin from event_store.archives a
    join pg_class c on c.relname = format('events_%s', a.lower) and c.relnamespace = 'event_store'::regnamespace
    where not c.relispartition and not exists (select from event_store.partitions p where p.lower = a.lower)
  loop
    if exists (
      select from pg_stat_activity s
      where s.datname = current_database() and s.pid <> pg_backend_pid() and age(s.backend_xmin) >= age(removed)) then
      remaining := remaining + 1;
      continue;
    end if;
    begin
      execute format('drop table event_store.%I', name);
    exception when lock_not_available then
      remaining := remaining + 1;
    end;
  end loop;
  return remaining;
end
$$;

-- Creates the table of an archived partition, for the events of its file. One that an earlier attempt left is dropped.
create or replace function event_store.prepare_attaching(part bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  name text := format('events_%s', part);
begin
  if exists (select from event_store.partitions p where p.lower = part) then
    raise exception 'partition % is in the store', part using errcode = 'object_not_in_prerequisite_state';
  end if;
  execute format('drop table if exists event_store.%I', name);
  execute format('create table event_store.%I (like event_store.events including all)', name);
  execute format('alter table event_store.%I add unique (stream, version)', name);
  execute format('create trigger events_are_kept before truncate on event_store.%I
    for each statement execute function event_store.refuse_change()', name);
end
$$;

-- Adds events to the table of event_store.prepare_attaching: lines of the file. json keeps the text of data and metadata.
create or replace function event_store.load_archived(part bigint, lines text[]) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  execute format('
    insert into event_store.%I
      (position, stream, version, hash, id, type, schema_version, data, metadata, recorded_at)
    select (l ->> ''position'')::bigint, l ->> ''stream'', (l ->> ''version'')::bigint, (l ->> ''hash'')::integer,
      (l ->> ''id'')::uuid, l ->> ''type'', (l ->> ''schemaVersion'')::integer, l -> ''data'', l -> ''metadata'',
      (l ->> ''recordedAt'')::timestamptz
    from (select line::json from unnest($1) as u(line)) as u(l)', format('events_%s', part))
  using lines;
end
$$;

-- Lets the loaded table be the first partition again.
create or replace function event_store.attach_partition(part bigint) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  name text := format('events_%s', part);
  next bigint := (select a.upper from event_store.archives a where a.lower = part);
  loaded bigint;
begin
  if next is distinct from event_store.archived_position() + 1 then
    raise exception 'only the last archived partition can be attached' using errcode = 'object_not_in_prerequisite_state';
  end if;
  execute format('select count(*) from event_store.%I e where e.position >= $1 and e.position < $2', name)
  into loaded using part, next;
  if loaded <> next - part then
    raise exception 'the file has % of % events', loaded, next - part using errcode = 'data_corrupted';
  end if;
  execute format('alter table event_store.events attach partition event_store.%I for values from (%s) to (%s)',
    name, part, next);
  insert into event_store.partitions values (part, next);
  delete from event_store.archived_heads h where h.position >= part;
end
$$;
