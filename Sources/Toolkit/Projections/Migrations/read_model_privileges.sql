-- The rights on the engine's tables in the read store: a projector runs the read models. Applied after every migration.

grant select, insert, update, delete on all tables in schema projections to counterflow_projector;
revoke insert, update, delete on projections.shapes from counterflow_projector;
grant execute on function projections.add_generation, projections.look, projections.activate, projections.advance, projections.expect_parked to counterflow_projector;
