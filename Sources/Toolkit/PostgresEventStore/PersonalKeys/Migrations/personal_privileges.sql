-- command-service makes keys; projectors, query-service and reactors only read them. Only two things remove a key: the trigger
-- and, for a person without events, the function.
revoke all on all tables in schema personal from public;
revoke all on all functions in schema personal from public;
grant usage on schema personal to counterflow_command, counterflow_projector, counterflow_query, counterflow_reactor;
grant select, insert on personal.keys to counterflow_command;
grant select on personal.keys to counterflow_projector, counterflow_query, counterflow_reactor;
grant execute on function personal.discard_key to counterflow_command;
