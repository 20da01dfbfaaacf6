-- Data of the commerce back end in the write store, besides its events.

create schema commerce;

-- The currency of every price. Written once, because sums over two currencies mean nothing.
create table commerce.store (
  singleton boolean primary key default true check (singleton),
  currency text not null check (currency ~ '^[A-Z]{3}$')
);

create function commerce.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the currency of a store does not change' using errcode = 'restrict_violation';
end
$$;
create trigger currency_is_kept before update or delete on commerce.store
  for each row execute function commerce.refuse_change();
create trigger currency_is_not_emptied before truncate on commerce.store
  for each statement execute function commerce.refuse_change();

-- If the store already has events, it keeps the currency of their prices.
insert into commerce.store (currency)
select e.data ->> 'currency' from event_store.events e where e.type = 'ProductRegistered' order by e.position limit 1;
