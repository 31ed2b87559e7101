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

-- Mail that strangers caused, counted until the window ends.
create table throttles (
  project_id   uuid not null,
  fingerprint  bytea not null,                    -- keyed, of the recipient and type, or of the client's address
  started_at   timestamptz not null,
  count        integer not null,
  ends_at      timestamptz not null,
  primary key (project_id, fingerprint)
);
create index throttles_ends on throttles (ends_at);
