-- migrations/postgres/0002_planner.sql says what each is for.

create table absences (
  project_id   blob not null,
  member_id    text not null,
  answered     text not null,                     -- the dispatch, else the Message-ID that it answers, else its own
  at           text not null,
  primary key (project_id, member_id, answered)
) strict;
create index absences_at on absences (at);

create table throttles (
  project_id   blob not null,
  fingerprint  blob not null,                    -- keyed, of the recipient and type, or of the client's address
  started_at   text not null,
  count        integer not null,
  ends_at      text not null,
  primary key (project_id, fingerprint)
) strict;
create index throttles_ends on throttles (ends_at);
