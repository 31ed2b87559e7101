-- The oldest dead dispatches: migrations/postgres/0008_rearm.sql says what for.
create index dispatches_dead_ids on dispatches (id) where state = 'dead';
