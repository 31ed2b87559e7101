-- Which dead dispatches have a copy of their event in the broker's dead queue, and of which death: arming a dispatch
-- again changes `due_at`. Set after the copy is confirmed, and unset before it is taken out: what a crash leaves
-- between is a copy too many, which the next look takes out.
alter table dispatches add column copied_due_at timestamptz;
-- Copies to be made, and to be taken out: both small.
create index dispatches_uncopied on dispatches (id)
  where state = 'dead' and (copied_due_at is null or copied_due_at <> due_at);
create index dispatches_overcopied on dispatches (id)
  where state <> 'dead' and copied_due_at is not null;

-- What one process at a time does for all.
create table chores (
  name    text primary key,
  holder  uuid not null,
  until   timestamptz not null                    -- another may take it over then
);
