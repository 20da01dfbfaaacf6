-- Searching orders and products, and the figures of sales. A generation that serves keeps its tables as they are, until the next
-- one, which the new version of its projection fills, takes its place.

-- Prefixes and typos.
create extension if not exists pg_trgm with schema public;

alter table read_models.orders_shape add column status text not null, add column country text, add column skus text not null;
create index on read_models.orders_shape (placed_at desc, key desc);
create index on read_models.orders_shape (status, placed_at desc, key desc);
create index on read_models.orders_shape using gin (string_to_array(skus, '|'));

alter table read_models.catalogue_shape add column name text not null, add column unit_price bigint not null,
  add column is_on_sale boolean not null, add column is_in_stock boolean not null, add column search text not null;
create index on read_models.catalogue_shape using gin (search public.gin_trgm_ops);

-- Until there is a generation the views show the shapes.
do $$
declare
  name text;
begin
  foreach name in array array['orders', 'catalogue'] loop
    if not exists (select from projections.generations g where g.projection = name) then
      execute format('drop view read_models.%I', name);
      execute format('create view read_models.%I as select * from read_models.%I', name, name || '_shape');
    end if;
  end loop;
end
$$;

create table read_models.returns_shape (
  key text collate "C" primary key,
  version bigint not null,
  document json not null
);
create view read_models.returns as select * from read_models.returns_shape;

create table read_models.sale_shape (
  key text collate "C" primary key,
  version bigint not null,
  document json not null
);
create view read_models.sale as select * from read_models.sale_shape;

create table read_models.sales_days_shape (
  partition integer, day date, country text collate "C",
  orders bigint not null, units bigint not null, gross bigint not null, cancelled bigint not null, returned bigint not null,
  primary key (day, country, partition)
);
create view read_models.sales_days as select * from read_models.sales_days_shape;

create table read_models.sales_products_shape (
  partition integer, day date, country text collate "C", sku text collate "C",
  units bigint not null, gross bigint not null, returned bigint not null,
  primary key (day, country, sku, partition)
);
create view read_models.sales_products as select * from read_models.sales_products_shape;

create table read_models.sales_totals_shape (
  partition integer, sku text collate "C", units bigint not null,
  primary key (sku, partition)
);
create view read_models.sales_totals as select * from read_models.sales_totals_shape;

create table read_models.sales_customers_shape (
  partition integer, customer_id text collate "C",
  orders bigint not null, gross bigint not null, returned bigint not null,
  primary key (customer_id, partition)
);
create view read_models.sales_customers as select * from read_models.sales_customers_shape;
