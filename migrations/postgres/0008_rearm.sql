-- The oldest dead dispatches over all projects: for the age that is measured.
create index dispatches_dead_ids on dispatches (id) where state = 'dead';
