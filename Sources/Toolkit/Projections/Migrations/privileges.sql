-- The rights that the services' roles have on the engine's tables in either store. Applied after every migration.

do $$
declare
  name text;
begin
  foreach name in array array['counterflow_projector', 'counterflow_query', 'counterflow_reactor'] loop
    begin
      if not exists (select from pg_roles r where r.rolname = name) then
        execute format('create role %I', name);
      end if;
    -- A migration of another database on the same server created the role at the same moment.
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$$;

grant usage on schema projections to counterflow_projector, counterflow_query, counterflow_reactor;
grant select on projections.checkpoints, projections.generations, projections.parked, projections.workers, projections.shapes to counterflow_query;
revoke all on all functions in schema projections from public;
grant execute on function projections.retry_parked to counterflow_query;
grant select on public.counterflow_migrations, public.counterflow_schemas to counterflow_projector, counterflow_query, counterflow_reactor;
