-- How each read model's tables are made. A generation's tables are made like these, empty, ones (`NAME_shape`).
create table projections.shapes (
  projection text primary key,
  -- Of the read model's code.
  version integer not null check (version > 0),
  tables text[] not null,
  -- SQL that made them.
  definition text not null
);
