-- What each executable may do with the read tables. Applied after every migration.

do $$
declare
  name text;
begin
  foreach name in array array['counterflow_projector', 'counterflow_query'] loop
    begin
      if not exists (select from pg_roles r where r.rolname = name) then
        execute format('create role %I', name);
      end if;
    -- Another database of the same server was migrated at the same moment.
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$$;

grant usage on schema read_models to counterflow_projector, counterflow_query;
grant select, insert, update, delete on all tables in schema read_models to counterflow_projector;
grant select on all tables in schema read_models to counterflow_query;
