-- Dispatches of a project, listed by pages from the newest on.
create index dispatches_listing on dispatches (project_id, id);
