-- Turns by stream instead of one for all; from here on these functions are in functions.sql.
drop function event_store.append;
drop function event_store.take_turn;
