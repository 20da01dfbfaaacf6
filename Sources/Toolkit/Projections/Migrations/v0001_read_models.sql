-- The read models' tables. Functions of the engine create them; workers create none themselves.
create schema read_models;
grant usage on schema read_models to counterflow_projector, counterflow_query;

-- For searches by the beginnings of words, and despite typos.
create extension if not exists pg_trgm with schema public;
create extension if not exists fuzzystrmatch with schema public;
