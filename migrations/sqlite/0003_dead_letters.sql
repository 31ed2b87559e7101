-- Copies in the dead queue, and chores: migrations/postgres/0003_dead_letters.sql says what each is for.
alter table dispatches add column copied_due_at text;
create index dispatches_uncopied on dispatches (id)
  where state = 'dead' and (copied_due_at is null or copied_due_at <> due_at);
create index dispatches_overcopied on dispatches (id)
  where state <> 'dead' and copied_due_at is not null;

create table chores (
  name    text primary key,
  holder  blob not null,
  until   text not null
) strict;
