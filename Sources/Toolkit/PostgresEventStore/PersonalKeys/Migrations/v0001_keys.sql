-- A key for each person, outside the events. Events are never changed, but data that is sealed in them cannot be read
-- any more once the key is gone.

create schema personal;

create table personal.keys (
  person text collate "C" primary key,
  -- 256 bits; null after it was erased, so that the person gets no other key.
  key bytea check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  check ((key is null) = (erased_at is not null))
);

-- Erases the key in the transaction that appends the event.
create function personal.erase_key() returns trigger language plpgsql security definer
  set search_path = pg_catalog, pg_temp as $$
begin
  insert into personal.keys as k (person, key, erased_at)
  values (substr(new.stream, strpos(new.stream, '-') + 1), null, clock_timestamp())
  on conflict (person) do update set key = null, erased_at = excluded.erased_at where k.key is not null;
  return null;
end
$$;
create trigger personal_data_is_erased after insert on event_store.events
  for each row when (new.type = 'PersonalDataErased') execute function personal.erase_key();

-- Removes a key that was made for a person who was not registered after all. A person with events has a stream, and
-- then the key stays.
create function personal.discard_key(unused text, events text) returns void language sql volatile security definer
  set search_path = pg_catalog, pg_temp as $$
  delete from personal.keys k
  where k.person = unused and k.key is not null
    and not exists (select from event_store.streams s where s.stream = events)
$$;
