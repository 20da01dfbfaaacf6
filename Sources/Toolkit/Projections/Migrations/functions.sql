-- The engine's functions, in their current form. Most run with their owner's rights, since workers may not create
-- tables.

-- Quotes the name of a table; fails if it is not a valid name.
create or replace function projections.quoted(name text) returns text language sql immutable
  set search_path = pg_catalog, pg_temp as $$
  select string_agg(quote_ident(part), '.' order by place) from unnest(parse_ident(name)) with ordinality as p(part, place)
$$;

-- Creates the next generation of a projection: its tables, and a checkpoint for each partition. Returns null if
-- another one is being built, or if the first one to serve exists already.
create or replace function projections.add_generation(
  name text, code_version integer, of_categories text[], partitions integer, of_tables text[], of_history_id uuid,
  new_state text, until bigint, activates boolean,
  -- The last events that a reaction leaves out, by partition; empty for all others.
  starts bigint[], start_ids uuid[]
) returns integer language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  number integer;
  target text;
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  if exists (
    select from projections.generations g
    where g.projection = name and (new_state = 'serving' or (new_state = 'building' and g.state = 'building'))) then
    return null;
  end if;
  if cardinality(of_tables) > 0 and not exists (
    select from projections.shapes s where s.projection = name and s.version = code_version and s.tables = of_tables) then
    raise exception 'the tables of read model % are not those of version %; run migrate of the build that has it',
      name, code_version using errcode = 'object_not_in_prerequisite_state';
  end if;
  insert into projections.numbers as n (projection, last) values (name, 1)
  on conflict (projection) do update set last = n.last + 1 returning last into number;
  foreach target in array of_tables loop
    execute format('create table %s (like %s including all)',
      projections.quoted(target || '_g' || number), projections.quoted(target || '_shape'));
    execute format('grant select, insert, update, delete on %s to counterflow_projector',
      projections.quoted(target || '_g' || number));
    execute format('grant select on %s to counterflow_query', projections.quoted(target || '_g' || number));
  end loop;
  insert into projections.generations (projection, generation, version, partition_count, tables, state, until_position, activates, from_position, categories)
  values (name, number, code_version, partitions, of_tables, new_state, until, activates,
    coalesce((select max(s) from unnest(starts) as s), 0), of_categories);
  insert into projections.checkpoints (projection, generation, partition, partition_count, history_id, position, event_id)
  select name, number, p, partitions, of_history_id, coalesce(starts[p + 1], 0), start_ids[p + 1]
  from generate_series(0, partitions - 1) as p;
  if new_state = 'serving' then perform projections.show(name, number); end if;
  return number;
end
$$;

-- Points the views at a generation's tables.
create or replace function projections.show(name text, number integer) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  target text;
begin
  foreach target in array (
    select g.tables from projections.generations g where g.projection = name and g.generation = number) loop
    execute format('drop view if exists %s', projections.quoted(target));
    execute format('create view %s as select * from %s', projections.quoted(target), projections.quoted(target || '_g' || number));
    execute format('grant select on %s to counterflow_query, counterflow_projector', projections.quoted(target));
  end loop;
end
$$;

-- Returns whether a reaction's checkpoint has an event that the write store does not have.
create or replace function projections.is_ahead(names text[], positions bigint[], event_ids uuid[]) returns boolean
  language plpgsql stable set search_path = pg_catalog, pg_temp
  -- Plans made while the table was empty would scan it.
  set enable_seqscan = off as $$
begin
  return exists (
    select from unnest(names, positions, event_ids) as u(name, position, event_id)
    where u.name like 'reaction/%' and u.position > event_store.archived_position() and not exists (
      select from event_store.events e where e.position = u.position and e.id = u.event_id));
end
$$;

-- Moves checkpoints, in the transaction that writes their rows, and counts the events applied in the blocks of
-- positions where they then stand. Fails with the state CF001 if the worker does not own one of them, or if one is
-- not where the worker left it.
create or replace function projections.advance(
  worker uuid, names text[], numbers integer[], partitions integer[], previous bigint[], positions bigint[], event_ids uuid[],
  applied bigint[], ids bigint[]
) returns void language plpgsql volatile as $$
declare
  moved bigint;
begin
  -- A checkpoint that leaves a block adds the block's sum to the ledger.
  if exists (select from unnest(advance.previous, advance.positions) as u(previous, position) where u.previous >> 16 <> u.position >> 16) then
    insert into projections.ledger as l (projection, generation, partition, block, applied, ids)
    select c.projection, c.generation, c.partition, c.position >> 16, c.applied, c.ids
    from unnest(advance.names, advance.numbers, advance.partitions, advance.positions) as u(name, number, partition, position)
    join projections.checkpoints c on c.projection = u.name and c.generation = u.number and c.partition = u.partition
    where c.owner = advance.worker and c.position >> 16 <> u.position >> 16 and c.applied <> 0
    on conflict (projection, generation, partition, block)
    do update set applied = l.applied + excluded.applied, ids = l.ids # excluded.ids;
  end if;
  update projections.checkpoints c
  set position = u.position, event_id = u.event_id, updated_at = clock_timestamp(), halted_at = null, error = null,
    applied = case when c.position >> 16 = u.position >> 16 then c.applied else 0 end + u.applied,
    ids = case when c.position >> 16 = u.position >> 16 then c.ids else 0 end # u.ids
  from unnest(
    advance.names, advance.numbers, advance.partitions, advance.previous, advance.positions, advance.event_ids, advance.applied,
    advance.ids) as u(name, number, partition, previous, position, event_id, applied, ids)
  where c.projection = u.name and c.generation = u.number and c.partition = u.partition
    and c.owner = advance.worker and c.position = u.previous;
  get diagnostics moved = row_count;
  if moved <> cardinality(advance.partitions) then
    raise exception 'another worker owns some of the assignments now' using errcode = 'CF001';
  end if;
  -- The checkpoints of reactions are in the store that they follow, and go back with it when it is restored. What a worker
  -- remembers of the lost events must not come back with its next write. A read store need not have the table.
  if exists (select from unnest(advance.names) as u(name) where u.name like 'reaction/%') then
    -- A statement of its own: a projector has no right to this function.
    if projections.is_ahead(advance.names, advance.positions, advance.event_ids) then
      raise exception 'the store does not have the event of a checkpoint: it was restored' using errcode = 'CF001';
    end if;
  end if;
end
$$;

-- Returns the reason why a generation may not serve, apart from how far it has come; null if there is none.
create or replace function projections.obstacle(name text, number integer, by_itself boolean) returns text
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  waiting bigint;
begin
  if not exists (
    select from projections.generations g
    where g.projection = name and g.generation = number and g.state in ('building', 'kept')) then
    return 'it serves already, or is not there';
  end if;
  select count(*) into waiting from projections.checkpoints n
  where n.projection = name and n.generation = number and (n.mode <> 'live' or not exists (
    select from projections.workers w where w.id = n.owner and w.expires_at > clock_timestamp()));
  if waiting > 0 then
    return format('%s of its partitions have not caught up, stand still, or have no projector', waiting);
  end if;
  if by_itself and exists (
    select p.stream from projections.parked p where p.projection = name and p.generation = number
    except
    select p.stream from projections.parked p
    join projections.generations g on g.projection = p.projection and g.generation = p.generation and g.state = 'serving'
    where p.projection = name) then
    return 'streams are parked in it that are not in the one that serves';
  end if;
  return null;
end
$$;

-- Returns the positions of the generation that serves, by partition.
create or replace function projections.served(name text) returns bigint[]
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select array_agg(o.position order by o.partition) from projections.checkpoints o
  join projections.generations g on g.projection = o.projection and g.generation = o.generation and g.state = 'serving'
  where o.projection = name
$$;

-- Returns whether each partition of a generation has reached the given positions of the serving generation's
-- partitions that share streams with it, or its own last event. heads are the last positions in the store in each of
-- the generation's partitions, at one moment. They do not cover events appended later.
create or replace function projections.has_passed(name text, number integer, served bigint[], heads bigint[]) returns boolean
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select not exists (
    select from projections.checkpoints o
    join projections.generations g on g.projection = o.projection and g.generation = o.generation and g.state = 'serving'
    join projections.checkpoints n on n.projection = name and n.generation = number and n.history_id = o.history_id
      and case when n.partition_count > o.partition_count
        then n.partition * o.partition_count / n.partition_count = o.partition
        else n.partition = o.partition * n.partition_count / o.partition_count end
    where o.projection = name and n.position < served[o.partition + 1]
      and not (n.position >= heads[n.partition + 1] and served[o.partition + 1] <= (select max(h) from unnest(heads) as h)))
$$;

-- Checks whether a generation may serve, without a lock: it must reach the current positions of the one that serves.
-- Returns null if it may serve; otherwise the reason why not.
create or replace function projections.look(name text, number integer, by_itself boolean, heads bigint[]) returns text
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  reason text := projections.obstacle(name, number, by_itself);
  served bigint[] := projections.served(name);
begin
  if reason is not null then
    return reason;
  end if;
  for attempt in 1..100 loop
    if projections.has_passed(name, number, served, heads) then
      return null;
    end if;
    perform pg_sleep(0.02);
  end loop;
  return 'it has not come as far as the one that serves';
end
$$;

-- Lets a generation serve, and keeps the previous one. Until the transaction ends, no worker can update the previous
-- one, so that nobody sees an older row after a newer one. So call it only after projections.look has succeeded, and
-- never wait for another server meanwhile. Returns null if it serves now; otherwise the reason why not.
create or replace function projections.activate(name text, number integer, by_itself boolean, heads bigint[]) returns text
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
  -- The views wait for running queries, and later queries wait for the views.
  set lock_timeout = '2s'
as $$
declare
  reason text;
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  perform from projections.generations g where g.projection = name and g.generation = number for update;
  reason := projections.obstacle(name, number, by_itself);
  if reason is not null then
    return reason;
  end if;
  perform from projections.checkpoints o
  join projections.generations g on g.projection = o.projection and g.generation = o.generation and g.state = 'serving'
  where o.projection = name order by o.partition for update of o;
  for attempt in 1..50 loop
    if projections.has_passed(name, number, projections.served(name), heads) then
      update projections.generations g set state = 'kept' where g.projection = name and g.state = 'serving';
      update projections.generations g set state = 'serving', activated_at = clock_timestamp()
      where g.projection = name and g.generation = number;
      perform projections.show(name, number);
      return null;
    end if;
    perform pg_sleep(0.02);
  end loop;
  return 'it has not come as far as the one that serves';
end
$$;

-- Fails with the state CF001 unless a stream waits at that position. It waits for a transaction that may change that.
create or replace function projections.expect_parked(name text, number integer, of_stream text, at bigint) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  perform from projections.parked p
  where p.projection = name and p.generation = number and p.stream = of_stream and p.position = at for update;
  if not found then
    raise exception 'the stream % does not wait at position %', of_stream, at using errcode = 'CF001';
  end if;
end
$$;

-- Asks for a parked stream to be tried again. This is the only change that a role with read access may make.
create or replace function projections.retry_parked(name text, of_stream text) returns integer
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with asked as (
    update projections.parked p set request = 'retry', retry_at = clock_timestamp() where p.projection = name and p.stream = of_stream returning 1)
  select count(*)::integer from asked
$$;

-- Deletes a generation, unless it serves.
create or replace function projections.drop_generation(name text, number integer) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  target text;
  of_tables text[];
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  select g.tables into of_tables from projections.generations g
  where g.projection = name and g.generation = number and g.state <> 'serving' for update;
  if of_tables is null then
    return false;
  end if;
  -- In the lock order of the workers: rows, then checkpoints.
  foreach target in array of_tables loop
    execute format('drop table if exists %s', projections.quoted(target || '_g' || number));
  end loop;
  delete from projections.generations g where g.projection = name and g.generation = number;
  delete from projections.checkpoints c where c.projection = name and c.generation = number;
  delete from projections.ledger l where l.projection = name and l.generation = number;
  delete from projections.takeovers t where t.projection = name and t.generation = number;
  delete from projections.parked p where p.projection = name and p.generation = number;
  delete from projections.waiting w where w.projection = name and w.generation = number;
  delete from projections.discarded d where d.projection = name and d.generation = number;
  return true;
end
$$;

-- Creates a read model's shapes, and its views as long as it has no generation. Does nothing if they exist already.
-- Only for the owner of the schema, since it executes the SQL that it is given.
create or replace function projections.declare(name text, code_version integer, of_tables text[], definition text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  known record;
  is_built boolean := exists (select from projections.generations g where g.projection = declare.name);
  target text;
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  select s.version, s.tables, s.definition into known from projections.shapes s where s.projection = declare.name;
  -- A newer build has created its own shapes, or nothing has changed.
  if known.version > code_version or (known.version = code_version and known.definition = declare.definition) then
    return;
  end if;
  if known.version = code_version and is_built then
    raise exception 'read model % has other columns, indexes or totals than before under the same version %: raise its version', name, code_version
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  if known.definition is distinct from declare.definition then
    foreach target in array coalesce(known.tables, '{}') loop
      if not is_built then
        execute format('drop view if exists %s', projections.quoted(target));
      end if;
      execute format('drop table %s', projections.quoted(target || '_shape'));
    end loop;
    execute declare.definition;
    foreach target in array of_tables loop
      if not is_built then
        execute format('create view %s as select * from %s', projections.quoted(target), projections.quoted(target || '_shape'));
        execute format('grant select on %s to counterflow_query, counterflow_projector', projections.quoted(target));
      end if;
    end loop;
  end if;
  insert into projections.shapes (projection, version, tables, definition)
  values (name, code_version, of_tables, declare.definition)
  on conflict (projection) do update
  set version = excluded.version, tables = excluded.tables, definition = excluded.definition;
end
$$;
