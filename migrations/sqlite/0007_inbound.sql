-- migrations/postgres/0007_inbound.sql says what each is for.

alter table dispatches add column bounce_status text;
alter table dispatches add column bounce_diagnostic text;

create table passed_on (
  project_id   blob not null,
  fingerprint  blob not null,
  taken_at     text not null,
  passed_at    text,
  primary key (project_id, fingerprint)
) strict;
create index passed_on_taken on passed_on (taken_at);
