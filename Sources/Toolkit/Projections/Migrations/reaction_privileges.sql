-- The rights on the engine's tables in the write store: a reactor runs the reactions. Applied after every migration.

grant select, insert, update, delete on all tables in schema projections to counterflow_reactor;
revoke insert, update, delete on projections.shapes from counterflow_reactor;
grant execute on function projections.add_generation, projections.look, projections.activate, projections.advance, projections.is_ahead, projections.expect_parked to counterflow_reactor;
