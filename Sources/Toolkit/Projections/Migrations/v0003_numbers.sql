-- No number of a generation is given twice, though generations go: workers know them by it.
create table projections.numbers (
  projection text primary key,
  last integer not null check (last > 0)
);
insert into projections.numbers select projection, max(generation) from projections.generations group by projection;

-- It says now why a generation does not serve; see functions.sql.
drop function if exists projections.activate(text, integer);
