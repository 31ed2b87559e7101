-- Which dead dispatches have a copy of their event in the broker's dead queue. Set after the copy is confirmed, and
-- unset before it is taken out: what a crash leaves between is a copy too many, which the next look takes out.
alter table dispatches add column copied_at timestamptz;
-- Copies to be made, and to be taken out: both small.
create index dispatches_uncopied on dispatches (id) where state = 'dead' and copied_at is null;
create index dispatches_overcopied on dispatches (id) where state <> 'dead' and copied_at is not null;

-- What one process at a time does for all.
create table chores (
  name    text primary key,
  holder  uuid not null,
  until   timestamptz not null                    -- another may take it over then
);
