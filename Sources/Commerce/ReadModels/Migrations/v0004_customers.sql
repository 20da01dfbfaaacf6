create table read_models.customers_shape (
  key text collate "C" primary key,
  version bigint not null,
  document json not null,
  search text not null,
  email text
);
create index on read_models.customers_shape using gin (search public.gin_trgm_ops);
create index on read_models.customers_shape (email) where email is not null;
create view read_models.customers as select * from read_models.customers_shape;
