-- migrations/postgres/0009_notices.sql says what each is for.
create table notices (
  id           blob primary key,
  project_id   blob not null,
  type         text not null,
  body         text not null,
  created_at   text not null,
  taken_until  text
) strict;
