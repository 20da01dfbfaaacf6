revoke all on all tables in schema commerce from public;
revoke all on all functions in schema commerce from public;
grant usage on schema commerce to counterflow_command;
grant select, insert on commerce.store to counterflow_command;
