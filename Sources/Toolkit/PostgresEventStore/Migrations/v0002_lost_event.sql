-- Set once a process has found an event missing that it had seen: nothing is appended until `counterflow restore-finished`.
alter table event_store.identity add column lost_event text;
