-- The write store's current functions. Applied after every migration. If a function's arguments or results change, a
-- migration must drop the old function.

-- Appends a batch of commands in one step, or nothing of it.
--
-- Nothing is appended if a stream does not have its expected version (conflict_…: its actual version), or if a command
-- with events has a known key (known_…: the command, counted from 1, and the stored response). history is not null if
-- the store does not have the history that the caller knows.
--
-- One append runs at a time: it holds an advisory lock until the commit. So positions have no gaps and become visible
-- in order. The lock is a separate statement, so that later statements have a newer snapshot.
create or replace function event_store.append(
  -- The history that the caller knows: its id, and one of its events (position 0: none).
  known_history_id uuid, seen_position bigint, seen_id uuid,
  expected_streams text[], expected_versions bigint[],
  -- A null response is a rejection. If response_offsets is not null, U+0001 in the response becomes the position of the
  -- batch's event with that offset.
  command_scopes text[], command_keys text[], command_generated boolean[], command_fingerprints uuid[],
  command_events integer[], command_responses text[], response_offsets integer[],
  event_streams text[], event_hashes integer[], event_ids uuid[], event_types text[],
  event_schema_versions integer[], event_data text[], event_metadata text[],
  -- The locks of written streams, except those that must be new; see take_contention_locks.
  locks integer[],
  out first_position bigint, out recorded timestamptz, out history_id uuid, out history text,
  out conflict_streams text[], out conflict_versions bigint[],
  out known_commands integer[], out known_fingerprints uuid[], out known_responses text[],
  -- The contention locks that another replica holds: its decision may conflict with this append.
  out contended integer[]
) language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  -- Plans that were made for empty tables would scan whole tables for ever.
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
  -- A wait ends by itself even if its client has gone.
  set lock_timeout = '30s'
as $$
declare
  last_position bigint;
  last_id uuid;
  last_recorded timestamptz;
  upper bigint;
  has_known boolean;
  lost text;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'append needs read committed' using errcode = 'active_sql_transaction';
  end if;
  if current_setting('fsync') <> 'on' or current_setting('synchronous_commit') = 'off' then
    raise exception 'fsync and synchronous_commit must be on: an acknowledged event must survive a crash'
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  perform pg_advisory_xact_lock(7310029201180266610);

  select i.history_id, i.lost_event into append.history_id, lost from event_store.identity i where i.singleton;
  -- The last event is usually at or after seen_position: this opens only the partitions from there on.
  select e.position, e.id, e.recorded_at into last_position, last_id, last_recorded
  from event_store.events e where e.position >= seen_position order by e.position desc limit 1;
  if last_position is null then
    select e.position, e.id, e.recorded_at into last_position, last_id, last_recorded
    from event_store.events e order by e.position desc limit 1;
  end if;
  last_position := coalesce(last_position, 0);
  if append.history_id is distinct from known_history_id then
    history := 'another history id';
    return;
  end if;
  if seen_position > 0 and (last_position, last_id) is distinct from (seen_position, seen_id) then
    -- An archived event cannot be compared. It is there: the history id is the same, and only events that are older than
    -- every reader's place are archived.
    if not exists (select from event_store.events e where e.position = seen_position and e.id = seen_id)
      and seen_position > event_store.archived_position() then
      -- No other process goes on either, until an operator has declared what happened.
      lost := format('event %s at position %s is gone; the store ends at %s', seen_id, seen_position, last_position);
      update event_store.identity i set lost_event = lost where i.singleton and i.lost_event is null;
    end if;
  end if;
  if lost is not null then
    history := lost;
    return;
  end if;

  select array_agg(u.ordinal::integer), array_agg(k.fingerprint), array_agg(k.response), bool_or(u.events > 0)
  into known_commands, known_fingerprints, known_responses, has_known
  from unnest(command_scopes, command_keys, command_events) with ordinality as u(scope, key, events, ordinal)
  join event_store.idempotency_keys k on k.key = u.key and k.scope = u.scope;

  select array_agg(u.stream), array_agg(coalesce(s.version, 0)) into conflict_streams, conflict_versions
  from unnest(expected_streams, expected_versions) as u(stream, version)
  left join event_store.streams s on s.stream = u.stream
  where coalesce(s.version, 0) <> u.version;

  select array_agg(l.lock) into contended
  from unnest(locks) as l(lock) where not pg_try_advisory_xact_lock_shared(731002920, l.lock);
  first_position := last_position + 1;
  recorded := greatest(clock_timestamp(), last_recorded);
  if conflict_streams is not null or has_known then
    return;
  end if;

  if cardinality(event_streams) > 0 then
    last_position := last_position + cardinality(event_streams);
    select max(p.upper) into upper from event_store.partitions p;
    -- A partition is made ahead of time, when the last one is half full. While there is room, an append waits no more
    -- than 20 ms for a lock, such as that of a manual vacuum or analyze: a later append makes the partition.
    while last_position >= upper - (select i.partition_size / 2 from event_store.identity i where i.singleton) loop
      begin
        if last_position < upper then
          perform set_config('lock_timeout', '20ms', true);
        end if;
        perform event_store.add_partition();
      exception when lock_not_available then
        if last_position >= upper then
          raise;
        end if;
        exit;
      end;
      perform set_config('lock_timeout', '30s', true);
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
    insert into event_store.idempotency_keys (scope, key, is_generated, fingerprint, response, recorded_at)
    select u.scope, u.key, u.generated, u.fingerprint,
      case when u.place is null then u.response
        else replace(u.response, chr(1), (append.first_position + u.place)::text) end,
      recorded
    from unnest(
        command_scopes, command_keys, command_generated, command_fingerprints, command_responses, response_offsets)
      with ordinality as u(scope, key, generated, fingerprint, response, place, ordinal)
    where u.response is not null and (known_commands is null or u.ordinal <> all(known_commands));
  end if;
end
$$;

-- Says whether this server has the store, to a process that has seen an event of it (position 0: none). A server that took
-- over, with that event and a witness that has looked recently, becomes the store's server. A server without that event is
-- marked, and nothing is appended.
create or replace function event_store.recognise_server(
  known_history_id uuid, seen_position bigint, seen_id uuid, is_recent boolean, out verdict text, out reason text
) language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  known event_store.identity;
  system bigint;
  line text;
begin
  select * into strict known from event_store.identity i where i.singleton;
  select s.system_identifier, s.timeline into system, line from event_store.server_identity() s;
  if known.lost_event is null and known.history_id = known_history_id and seen_position > 0
    and seen_position > event_store.archived_position()
    and not exists (select from event_store.events e where e.position = seen_position and e.id = seen_id) then
    known.lost_event := format('event %s at position %s is gone', seen_id, seen_position);
    update event_store.identity i set lost_event = known.lost_event where i.singleton and i.lost_event is null;
  end if;
  verdict := 'foreign';
  if known.lost_event is not null then
    reason := format(
      'the write store has lost events (%s): was it restored, or did a standby take over that was behind? Nothing is '
      'appended until restore-finished has been run', known.lost_event);
  elsif (known.system_identifier, known.timeline) is not distinct from (system, line) then
    verdict := 'known';
  elsif known.system_identifier = system and known.history_id = known_history_id and is_recent then
    update event_store.identity i set timeline = line where i.singleton;
    verdict := 'recognised';
    reason := format('%s/%s', system, line);
  else
    reason := format(
      'the write store is on another server or timeline than before (now %s/%s, before %s/%s), and this process has not '
      'seen what the store had: was it restored, or did a standby take over? Nothing is appended until another process '
      'recognises it, or restore-finished has been run', system, line, coalesce(known.system_identifier::text, 'unknown'),
      coalesce(known.timeline, 'unknown'));
  end if;
end
$$;

-- Appends like event_store.append, stores the deadlines that the batch's commands schedule, and removes those that the
-- commands are. All of it happens in one transaction, or nothing.
create or replace function event_store.append_with_deadlines(
  known_history_id uuid, seen_position bigint, seen_id uuid, expected_streams text[], expected_versions bigint[],
  command_scopes text[], command_keys text[], command_generated boolean[], command_fingerprints uuid[],
  command_events integer[], command_responses text[], response_offsets integer[], event_streams text[],
  event_hashes integer[], event_ids uuid[], event_types text[], event_schema_versions integer[], event_data text[],
  event_metadata text[], locks integer[],
  -- Of each deadline: its command, counted from 1; when it is due, or so many seconds after the append where that is null.
  deadline_commands integer[], deadline_ids uuid[], deadline_dues timestamptz[], deadline_delays double precision[],
  deadline_names text[], deadline_data text[], deadline_metadata text[],
  fired uuid[],
  out first_position bigint, out recorded timestamptz, out history_id uuid, out history text,
  out conflict_streams text[], out conflict_versions bigint[], out known_commands integer[],
  out known_fingerprints uuid[], out known_responses text[], out contended integer[]
) language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  -- Plans made while the tables were empty would scan them. A wait that outlives its client ends.
  set enable_seqscan = off set jit = off set lock_timeout = '30s'
as $$
begin
  select a.first_position, a.recorded, a.history_id, a.history, a.conflict_streams, a.conflict_versions, a.known_commands,
    a.known_fingerprints, a.known_responses, a.contended
  into first_position, recorded, history_id, history, conflict_streams, conflict_versions, known_commands,
    known_fingerprints, known_responses, contended
  from event_store.append(
    known_history_id, seen_position, seen_id, expected_streams, expected_versions, command_scopes, command_keys,
    command_generated, command_fingerprints, command_events, command_responses, response_offsets, event_streams,
    event_hashes, event_ids, event_types, event_schema_versions, event_data, event_metadata, locks) a;
  -- Nothing was appended.
  if history is not null or conflict_streams is not null
    or exists (select from unnest(known_commands) as k(command) where command_events[k.command] > 0) then
    return;
  end if;
  insert into event_store.deadlines (id, due_at, command, data, metadata, scheduled_at)
  select u.id, coalesce(u.due, recorded + make_interval(secs => u.delay)), u.name, u.data::json, u.metadata::json, recorded
  from unnest(
      deadline_commands, deadline_ids, deadline_dues, deadline_delays, deadline_names, deadline_data, deadline_metadata)
    as u(command, id, due, delay, name, data, metadata)
  where known_commands is null or u.command <> all(known_commands);
  if cardinality(fired) > 0 then
    delete from event_store.deadlines d where d.id = any(fired);
  end if;
end
$$;

-- Removes some keys that are older than older_than. Keys of the last day always stay, and those of reactions and deadlines
-- for 30 days: a partition of a reaction that has stopped for long handles some events again.
create or replace function event_store.forget_keys(older_than timestamptz, at_most integer) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from event_store.idempotency_keys k
    where k.ctid = any(array(
      select o.ctid from event_store.idempotency_keys o
      where o.recorded_at < least(older_than, clock_timestamp() - interval '1 day')
        and (not (starts_with(o.scope, 'reaction/') or o.scope = 'deadline')
          or o.recorded_at < clock_timestamp() - interval '30 days')
      limit at_most))
    returning 1)
  select count(*) from gone
$$;

-- The same for keys that command-service made, oldest first.
create or replace function event_store.forget_generated_keys(older_than timestamptz, at_most integer) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from event_store.idempotency_keys k
    where k.ctid = any(array(
      select o.ctid from event_store.idempotency_keys o
      where o.is_generated and o.recorded_at < least(older_than, clock_timestamp() - interval '1 day')
      order by o.recorded_at limit at_most))
    returning 1)
  select count(*) from gone
$$;

-- Begins an attempt at a call (perform), unless it has succeeded, is under way, or has failed and nobody has been told.
-- over_after: seconds after which an attempt without an outcome is over. rate: attempts of the effect that begin in a second,
-- at most; null for no limit.
create or replace function event_store.begin_attempt(
  of_key text, of_effect text, of_stream text, of_position bigint, over_after double precision, rate double precision,
  out verdict text, out number integer,
  -- The attempt's number since the last time that the call was given up.
  out series integer,
  -- When it starts, and in how many seconds. For a failure: the seconds until the next attempt.
  out starts timestamptz, out delay double precision, out reason text
) language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  -- Plans made while the table was empty would scan it. A wait that outlives its client ends.
  set enable_seqscan = off set jit = off set lock_timeout = '30s'
as $$
declare
  last event_store.effect_attempts;
begin
  if rate is not null then
    -- Before any row, so that transactions with several attempts do not wait for each other.
    perform pg_advisory_xact_lock(731002922, hashtext(of_effect));
  end if;
  select a.* into last from event_store.effect_attempts a where a.key = of_key order by a.attempt desc limit 1 for update;
  number := coalesce(last.attempt, 0);
  series := 0;
  starts := clock_timestamp();
  delay := 0;
  reason := '';
  -- Not only the last one: an attempt that seemed to be over may have succeeded after another one began.
  if last.outcome = 'succeeded' or last.attempt > 1 and exists (
    select from event_store.effect_attempts a where a.key = of_key and a.outcome = 'succeeded') then
    verdict := 'succeeded';
    return;
  end if;
  if last.outcome is null and last.started_at > starts - make_interval(secs => over_after) then
    verdict := 'under way';
    return;
  end if;
  if last.outcome in ('failed', 'gave up') and not last.is_noted then
    update event_store.effect_attempts a set is_noted = true where a.key = of_key and a.attempt = last.attempt;
    verdict := last.outcome;
    reason := last.error;
    delay := coalesce(greatest(0, extract(epoch from last.retry_at - starts)), 0);
    return;
  end if;
  number := number + 1;
  select number - coalesce(max(a.attempt), 0) into series
  from event_store.effect_attempts a where a.key = of_key and a.outcome = 'gave up';
  if rate is not null then
    select greatest(clock_timestamp(), max(a.started_at) + make_interval(secs => 1 / rate)) into starts
    from event_store.effect_attempts a where a.effect = of_effect;
    delay := greatest(0, extract(epoch from starts - clock_timestamp()));
  end if;
  insert into event_store.effect_attempts (key, attempt, effect, stream, position, started_at)
  values (of_key, number, of_effect, of_stream, of_position, starts)
  on conflict do nothing;
  -- Another process has just begun it.
  verdict := case when found then 'perform' else 'under way' end;
end
$$;

-- Removes some attempts that began before older_than.
create or replace function event_store.forget_attempts(older_than timestamptz, at_most integer) returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from event_store.effect_attempts a
    where a.ctid = any(array(
      select o.ctid from event_store.effect_attempts o where o.started_at < older_than limit at_most))
    returning 1)
  select count(*) from gone
$$;

-- Locks streams that several replicas write at once. A lock is 32 bits of a stream's hash. The replica that holds the
-- locks reads new events and decides; meanwhile the others do not decide in vain. The locks are a hint: the result is
-- false if they are not free in time, and nothing depends on them. They must be in ascending order, so that replicas do
-- not deadlock.
create or replace function event_store.take_contention_locks(locks integer[]) returns boolean language plpgsql security definer volatile
  set search_path = pg_catalog, pg_temp
  -- The time limit of all locks together, longer than a holder can be idle. It is for this function alone: the commit
  -- takes a lock for its notification, and must not fail by this limit.
  set lock_timeout = '2s'
as $$
declare
  stream_lock integer;
  deadline timestamptz := clock_timestamp() + interval '2 seconds';
begin
  -- A holder that is idle for a second loses its connection, and with it the locks.
  perform set_config('idle_in_transaction_session_timeout', '1s', true);
  begin
    foreach stream_lock in array locks loop
      perform set_config('lock_timeout',
        greatest(1, extract(epoch from deadline - clock_timestamp()) * 1000)::integer::text, true);
      perform pg_advisory_xact_lock(731002920, stream_lock);
    end loop;
  exception when lock_not_available then
    return false;
  end;
  return true;
end
$$;

-- Returns the events of each stream after a version, at_most of each, in order. A position is that of the event with
-- that version; 0 if it is not known. Fails with the state CF002 if one of them is archived.
--
-- Reads partition by partition, and by stream and version alone. A plan for all partitions would open all of them, and
-- might walk along the positions of other streams.
create or replace function event_store.stream_events(
  streams text[], versions bigint[], positions bigint[], at_most integer
) returns setof event_store.events language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  -- There is one plan. To make it for each call takes longer than to read a short stream.
  set plan_cache_mode = force_generic_plan
as $$
declare
  names text[];
  known bigint[];
  upto bigint[];
  first_position bigint;
  last_position bigint;
  missing bigint;
  got bigint;
  part bigint;
begin
  -- Versions have no gaps, so that they give the number of missing events.
  select array_agg(s.stream), array_agg(u.version), array_agg(least(s.version, u.version + at_most)),
    min(greatest(u.position + 1, s.first_position + u.version)), max(s.last_position),
    sum(least(s.version, u.version + at_most) - u.version)
  into names, known, upto, first_position, last_position, missing
  from unnest(streams, versions, positions) as u(stream, version, position)
  join event_store.streams s on s.stream = u.stream and s.version > u.version;

  for part in
    select p.lower from event_store.partitions p
    where p.upper > first_position and p.lower <= last_position order by p.lower
  loop
    return query execute format('
      select e.* from unnest($1, $2, $3) as u(stream, after, upto)
      join event_store.%I e on e.stream = u.stream and e.version > u.after and e.version <= u.upto
      order by e.version', 'events_' || part)
    using names, known, upto;
    get diagnostics got = row_count;
    missing := missing - got;
    exit when missing <= 0;
  end loop;
  if missing > 0 and first_position <= event_store.archived_position() then
    perform event_store.refuse_archived(first_position);
  end if;
end
$$;

-- Returns the last event of each of the 64 ranges of hashes that has events, archived or not. Reads the last partition
-- first, by the index on ranges and positions alone. Sorts by the whole index, so that no plan can walk along all positions.
create or replace function event_store.bucket_heads(out bucket integer, out "position" bigint, out id uuid)
returns setof record language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
  missing integer[] := array(select generate_series(0, 63));
  part bigint;
begin
  for part in select p.lower from event_store.partitions p order by p.lower desc loop
    for bucket, "position", id in execute format('
      select b.index, h.position, h.id from unnest($1) as b(index)
      cross join lateral (
        select e.position, e.id from event_store.%I e where (e.hash >> 10) >= b.index and (e.hash >> 10) <= b.index
        order by (e.hash >> 10) desc, e.position desc limit 1) h', 'events_' || part)
    using missing loop
      missing := array_remove(missing, bucket);
      return next;
    end loop;
    exit when cardinality(missing) = 0;
  end loop;
  for bucket, "position", id in
    select b.index, h.position, h.id from unnest(missing) as b(index)
    cross join lateral event_store.archived_head(b.index) h where h.position is not null
  loop
    return next;
  end loop;
end
$$;

-- Returns a page of the events of some ranges of hashes from a position on, in order, reading like bucket_heads. The
-- page has the events of the given categories, and also its first and last event of any category. A row of nulls says
-- that no events follow. It fails with the state CF002 if one of the events is archived. Only the last event that these
-- ranges have in the archive can be read, as the first of a page: a checkpoint may stand there.
--
-- Reads little more than it returns: of each range, the share that it has of the page if events are spread evenly, and a
-- quarter more. Where a range has more, the page ends, even if it is shorter than at_most.
create or replace function event_store.bucket_page(
  first_bucket integer, last_bucket integer, from_position bigint, of_categories text[], at_most integer, max_bytes bigint
) returns setof event_store.events language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  room integer := at_most;
  bytes bigint := max_bytes;
  ranges integer := last_bucket - first_bucket + 1;
  event event_store.events;
  left_out event_store.events;
  part bigint;
  upto bigint;
begin
  if from_position <= event_store.archived_position() then
    select h.* into event from generate_series(first_bucket, last_bucket) as b(index)
    cross join lateral event_store.archived_head(b.index) h
    where h.position >= from_position order by h.position desc limit 1;
    if event.position > from_position then
      perform event_store.refuse_archived(from_position);
    elsif event.position = from_position then
      return next event;
      room := room - 1;
      if room <= 0 then return; end if;
    end if;
  end if;
  for part in select p.lower from event_store.partitions p where p.upper > from_position order by p.lower loop
    upto := null;
    if ranges > 1 then
      execute format('
        select min(e.position) from generate_series($1, $2) as b(index)
        cross join lateral (
          select e.position from event_store.%I e
          where ((e.hash >> 10), e.position) >= (b.index, $3) and (e.hash >> 10) <= b.index
          order by (e.hash >> 10), e.position offset $4 - 1 limit 1) e', 'events_' || part)
      into upto using first_bucket, last_bucket, from_position, least(room, room * 5 / (4 * ranges) + 16);
    end if;
    for event in execute format('
      select e.* from generate_series($1, $2) as b(index)
      cross join lateral (
        select * from event_store.%I e
        where ((e.hash >> 10), e.position) >= (b.index, $3) and ((e.hash >> 10), e.position) <= (b.index, $5)
        order by (e.hash >> 10), e.position limit $4) e
      order by e.position limit $4', 'events_' || part)
    using first_bucket, last_bucket, from_position, room, coalesce(upto, 9223372036854775807) loop
      if room = at_most then
        return next event;
      elsif split_part(event.stream, '-', 1) = any(of_categories) then
        left_out := null;
        return next event;
        bytes := bytes - octet_length(event.data::text) - octet_length(event.metadata::text);
      else
        left_out := event;
      end if;
      room := room - 1;
      if room <= 0 or bytes <= 0 then
        if left_out.position is not null then return next left_out; end if;
        return;
      end if;
    end loop;
    if upto is not null then
      if left_out.position is not null then return next left_out; end if;
      return;
    end if;
  end loop;
  if left_out.position is not null then return next left_out; end if;
  event := null;
  return next event;
end
$$;
