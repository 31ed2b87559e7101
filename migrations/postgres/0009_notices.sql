-- What Signalpost itself did and has not told yet: written with its effect, deleted once the broker has it.
create table notices (
  id           uuid primary key,                  -- version 7, and the id of the CloudEvent: told twice, it is known
  project_id   uuid not null,
  type         text not null,
  body         text not null,                     -- the CloudEvent
  created_at   timestamptz not null,
  taken_until  timestamptz                        -- a worker tells it, until then at most
);
