-- The read models' tables, as projections.declare makes them. Workers make none of their own.
create schema read_models;
grant usage on schema read_models to counterflow_projector, counterflow_query;

-- For columns that are searched for words: their beginnings, and typos.
create extension if not exists pg_trgm with schema public;
create extension if not exists fuzzystrmatch with schema public;
