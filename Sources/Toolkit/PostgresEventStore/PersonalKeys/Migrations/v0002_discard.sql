-- Takes back a key that was made for a person who was not registered after all. A key that an event was sealed with stays:
-- whoever has events has a stream.
create function personal.discard_key(unused text, events text) returns void language sql volatile security definer
  set search_path = pg_catalog, pg_temp as $$
  delete from personal.keys k
  where k.person = unused and k.key is not null
    and not exists (select from event_store.streams s where s.stream = events)
$$;
