-- The read models: a schema of their own, a row per document. The columns beside the document are there
-- to be searched by.

create schema read_models;

create table read_models.orders (
  key text collate "C" primary key,
  document json not null,
  customer_id text,
  placed_at timestamptz not null
);
create index orders_of_customer on read_models.orders (customer_id, placed_at desc, key desc)
  where customer_id is not null;

create table read_models.catalogue (
  key text collate "C" primary key,
  document json not null
);
