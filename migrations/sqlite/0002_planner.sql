-- migrations/postgres/0002_planner.sql says what each is for.

create table absences (
  project_id   blob not null,
  member_id    text not null,
  answered     text not null,                     -- the dispatch, else the Message-ID that it answers, else its own
  at           text not null,
  primary key (project_id, member_id, answered)
) strict;
create index absences_at on absences (at);
