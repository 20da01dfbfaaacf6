-- The projector copies erasures into the log. Nobody but the owner removes any.

do $$
begin
  if not exists (select from pg_roles r where r.rolname = 'counterflow_projector') then
    create role counterflow_projector;
  end if;
-- Another database of this server is being migrated at the same time.
exception when duplicate_object or unique_violation then null;
end
$$;

revoke all on all tables in schema erasures from public;
grant usage on schema erasures to counterflow_projector;
grant select, insert, update on erasures.log to counterflow_projector;
grant select on public.counterflow_migrations to counterflow_projector;
