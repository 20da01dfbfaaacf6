-- Where a person's key was erased, so that each erasure can be copied out of the write store.

alter table personal.keys
  -- The position of the event that erased the key. 0 for no erasure, and for one of an earlier version.
  add column erased_position bigint not null default 0;
create index keys_by_erasure on personal.keys (erased_position, person) where key is null;

-- Erases the key in the transaction that appends the event.
create or replace function personal.erase_key() returns trigger language plpgsql security definer
  set search_path = pg_catalog, pg_temp as $$
begin
  insert into personal.keys as k (person, key, erased_at, erased_position)
  values (substr(new.stream, strpos(new.stream, '-') + 1), null, clock_timestamp(), new.position)
  on conflict (person) do update
  set key = null, erased_at = coalesce(k.erased_at, excluded.erased_at), erased_position = excluded.erased_position
  where k.key is not null or k.erased_position = 0;
  return null;
end
$$;
