-- command-service makes and uses keys, projectors use them; nobody but the trigger takes one away.
revoke all on all tables in schema personal from public;
revoke all on all functions in schema personal from public;
grant usage on schema personal to counterflow_command, counterflow_projector, counterflow_query;
grant select, insert on personal.keys to counterflow_command;
grant select on personal.keys to counterflow_projector, counterflow_query;
