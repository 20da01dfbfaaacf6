-- What queries look up. Ids have the collation "C" in every table: where two columns differ, a join cannot use an index. Orders of
-- a country, and products by name or price, have an index each; descriptions are searched. The generations that are there keep
-- their tables: the new versions of the projections fill the next ones beside them, so that no query waits for a lock.

-- Until there is a generation the views show the shapes, and a column that a view shows does not change.
do $$
declare
  name text;
begin
  foreach name in array array['orders', 'catalogue'] loop
    if not exists (select from projections.generations g where g.projection = name) then
      execute format('drop view read_models.%I', name);
    end if;
  end loop;
end
$$;

alter table read_models.orders_shape alter column customer_id type text collate "C";
create index on read_models.orders_shape (country, placed_at desc, key desc) where country is not null;

alter table read_models.catalogue_shape add column details text not null;
create index on read_models.catalogue_shape using gin (details public.gin_trgm_ops);
create index on read_models.catalogue_shape (name, key);
create index on read_models.catalogue_shape (unit_price, key);

do $$
declare
  name text;
begin
  foreach name in array array['orders', 'catalogue'] loop
    if to_regclass('read_models.' || name) is null then
      execute format('create view read_models.%I as select * from read_models.%I', name, name || '_shape');
    end if;
  end loop;
end
$$;
