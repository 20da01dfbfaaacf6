-- Who was erased, outside the write store: a write store that is restored from a backup has the keys of those who were erased
-- after the backup. No row is ever removed.

create schema erasures;

create table erasures.log (
  person text collate "C" primary key,
  erased_at timestamptz not null,
  -- The history and the position of the event, so that each event is copied once; null after an import from a file.
  history_id uuid,
  position bigint,
  -- The event that erased the person, without its position, to append it again; null if it is not known.
  stream text collate "C",
  schema_version integer,
  data text,
  metadata text,
  logged_at timestamptz not null default clock_timestamp()
);
create index log_by_position on erasures.log (history_id, position, person);
