-- A partition's checkpoint and what was applied in the block of positions that it stands in are one row: one update a commit.
-- The ledger has the blocks before that.
alter table projections.checkpoints
  add column applied bigint not null default 0,
  add column ids bigint not null default 0;

with current as (
  delete from projections.ledger l using projections.checkpoints c
  where l.projection = c.projection and l.generation = c.generation and l.partition = c.partition
    and l.block = c.position >> 16
  returning l.projection, l.generation, l.partition, l.applied, l.ids)
update projections.checkpoints c set applied = o.applied, ids = o.ids
from current o where c.projection = o.projection and c.generation = o.generation and c.partition = o.partition;

-- All that was applied, by blocks of positions.
create view projections.applied as
select projection, generation, partition, block, applied, ids from projections.ledger
union all
select projection, generation, partition, position >> 16, applied, ids from projections.checkpoints where applied <> 0;
