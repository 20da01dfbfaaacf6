-- Pages of the categories that are wanted instead of all events; from here on bucket_page in functions.sql.
drop function if exists event_store.bucket_events;
