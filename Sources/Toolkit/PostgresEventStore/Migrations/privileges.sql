-- The privileges of each executable in the write store. Applied after every migration.

do $$
declare
  name text;
begin
  foreach name in array array[
    'counterflow_command', 'counterflow_relay', 'counterflow_projector', 'counterflow_query', 'counterflow_reactor'
  ] loop
    begin
      if not exists (select from pg_roles r where r.rolname = name) then
        execute format('create role %I', name);
      end if;
    -- Another database of this server is being migrated at the same time.
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
end
$$;

revoke all on all tables in schema event_store from public, counterflow_command, counterflow_relay, counterflow_projector, counterflow_query,
  counterflow_reactor;
revoke all on all functions in schema event_store from public;
grant usage on schema event_store to counterflow_command, counterflow_relay, counterflow_projector, counterflow_query, counterflow_reactor;
grant select on event_store.identity, event_store.events, event_store.streams
  to counterflow_command, counterflow_relay, counterflow_projector, counterflow_query, counterflow_reactor;
grant execute on function event_store.archived_position
  to counterflow_command, counterflow_relay, counterflow_projector, counterflow_query, counterflow_reactor;
grant execute on function event_store.recognise_server
  to counterflow_command, counterflow_relay, counterflow_projector, counterflow_reactor;

-- command-service and reactor append only through the functions, and save snapshots. A snapshot counts only while its
-- last event is there.
grant execute on function event_store.append, event_store.append_with_deadlines, event_store.take_contention_locks,
  event_store.stream_events to counterflow_command, counterflow_reactor;
grant execute on function event_store.forget_keys, event_store.forget_generated_keys to counterflow_command;
grant select, insert, update on event_store.snapshots to counterflow_command, counterflow_reactor;
grant execute on function event_store.stream_events to counterflow_projector, counterflow_query;
grant execute on function event_store.bucket_heads to counterflow_query;
-- query-service tells an autoscaler how far the live feed is, and whether a relay is active.
grant select (name, position) on event_store.cursors to counterflow_query;
grant select (name, expires_at) on event_store.leases to counterflow_query;
grant execute on function event_store.bucket_heads, event_store.bucket_page
  to counterflow_relay, counterflow_projector, counterflow_reactor;

-- The relay and the reactor hold leases. The relay saves its cursors; it cannot append.
grant select, insert, update, delete on event_store.leases to counterflow_relay, counterflow_reactor;
-- The reactor carries deadlines out. Only the append functions add any.
grant select, delete on event_store.deadlines to counterflow_reactor;
grant update (retry_at, failed_at, error) on event_store.deadlines to counterflow_reactor;
-- It makes the calls of effects, and records what becomes of each attempt.
grant execute on function event_store.begin_attempt, event_store.forget_attempts to counterflow_reactor;
grant select on event_store.effect_attempts to counterflow_reactor;
grant update (finished_at, outcome, error, retry_at, is_noted) on event_store.effect_attempts to counterflow_reactor;
grant select, insert, update on event_store.cursors to counterflow_relay;
grant select on public.counterflow_migrations, public.counterflow_schemas
  to counterflow_command, counterflow_relay, counterflow_projector, counterflow_query, counterflow_reactor;
