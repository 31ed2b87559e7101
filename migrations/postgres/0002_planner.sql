-- Mails of ours that an automatic reply was counted for: at most one reply counts for each, for as long as events
-- are kept.
create table absences (
  project_id   uuid not null,
  member_id    text not null,
  answered     text not null,                     -- the dispatch, else the Message-ID that it answers, else its own
  at           timestamptz not null,
  primary key (project_id, member_id, answered)
);
create index absences_at on absences (at);
