-- The engine's functions as they are now. They run with their owner's rights, since workers make no tables.

-- The name of a table, quoted; refuses what is none.
create or replace function projections.quoted(name text) returns text language sql immutable
  set search_path = pg_catalog, pg_temp as $$
  select string_agg(quote_ident(part), '.' order by place) from unnest(parse_ident(name)) with ordinality as p(part, place)
$$;

-- Makes the next generation of a projection: its tables, and a checkpoint for each partition. Null where it
-- is not called for: another one is being built, or the first one is there already.
create or replace function projections.add_generation(
  name text, code_version integer, partitions integer, of_tables text[], of_incarnation uuid,
  new_state text, until bigint, activates boolean
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
  insert into projections.numbers as n (projection, last) values (name, 1)
  on conflict (projection) do update set last = n.last + 1 returning last into number;
  foreach target in array of_tables loop
    execute format('create table %s (like %s including all)',
      projections.quoted(target || '_g' || number), projections.quoted(target || '_shape'));
    execute format('grant select, insert, update, delete on %s to counterflow_projector',
      projections.quoted(target || '_g' || number));
    execute format('grant select on %s to counterflow_query', projections.quoted(target || '_g' || number));
  end loop;
  insert into projections.generations (projection, generation, version, partition_count, tables, state, until_position, activates)
  values (name, number, code_version, partitions, of_tables, new_state, until, activates);
  insert into projections.checkpoints (projection, generation, partition, partition_count, incarnation, position)
  select name, number, p, partitions, of_incarnation, 0 from generate_series(0, partitions - 1) as p;
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

-- Lets what serves stand still until the transaction ends, so that nobody sees an older row after a newer one.
create or replace function projections.hold(name text) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  perform from projections.checkpoints o
  join projections.generations g on g.projection = o.projection and g.generation = o.generation and g.state = 'serving'
  where o.projection = name order by o.partition for update of o;
end
$$;

drop function if exists projections.activate(text, integer, boolean);
-- Lets a generation serve, and keeps the one that did, which must stand still; heads are the last positions in the store
-- in each of its partitions, looked up since then. Null when it serves now; otherwise why it does not.
create or replace function projections.activate(name text, number integer, by_itself boolean, heads bigint[]) returns text
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
  -- The views wait for queries that are under way, and whoever comes later waits for the views.
  set lock_timeout = '2s'
as $$
declare
  waiting bigint;
begin
  perform pg_advisory_xact_lock(731002921, hashtext(name));
  perform from projections.generations g
  where g.projection = name and g.generation = number and g.state in ('building', 'kept') for update;
  if not found then
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
  for attempt in 1..100 loop
    -- Each partition as far as every one that it shares streams with, or at its own last event.
    if not exists (
      select from projections.checkpoints o
      join projections.generations g on g.projection = o.projection and g.generation = o.generation and g.state = 'serving'
      join projections.checkpoints n on n.projection = name and n.generation = number and n.incarnation = o.incarnation
        and case when n.partition_count > o.partition_count
          then n.partition * o.partition_count / n.partition_count = o.partition
          else n.partition = o.partition * n.partition_count / o.partition_count end
      where o.projection = name and n.position < least(o.position, heads[n.partition + 1])) then
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

-- Asks for a parked stream to be tried again: all that who only reads may do.
create or replace function projections.retry_parked(name text, of_stream text) returns integer
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with asked as (
    update projections.parked p set request = 'retry' where p.projection = name and p.stream = of_stream returning 1)
  select count(*)::integer from asked
$$;

-- Throws a generation away, unless it serves.
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
  -- In the order in which workers write: rows, then checkpoints.
  foreach target in array of_tables loop
    execute format('drop table if exists %s', projections.quoted(target || '_g' || number));
  end loop;
  delete from projections.generations g where g.projection = name and g.generation = number;
  delete from projections.checkpoints c where c.projection = name and c.generation = number;
  delete from projections.ledger l where l.projection = name and l.generation = number;
  delete from projections.parked p where p.projection = name and p.generation = number;
  delete from projections.discarded d where d.projection = name and d.generation = number;
  return true;
end
$$;
