-- How far a word is from another.
create extension if not exists fuzzystrmatch with schema public;
