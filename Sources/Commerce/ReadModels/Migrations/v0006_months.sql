-- Sums by month, so that years of days need not be added up. Until the next version of the projection serves they are.
create table read_models.sales_months_shape (
  partition integer, month date, country text collate "C",
  orders bigint not null, units bigint not null, gross bigint not null, cancelled bigint not null, returned bigint not null,
  primary key (month, country, partition)
);
create view read_models.sales_months as
  select partition, date_trunc('month', day)::date as month, country, sum(orders)::bigint as orders, sum(units)::bigint as units,
    sum(gross)::bigint as gross, sum(cancelled)::bigint as cancelled, sum(returned)::bigint as returned
  from read_models.sales_days group by 1, 2, 3;
