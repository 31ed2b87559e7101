-- Keys, integrations and the API's own records: migrations/postgres/0005_platform.sql says what each is for.

alter table integrations add column rate text;
alter table integrations add column return_path text;
alter table integrations add column reply_path text;

create table idempotency (
  fingerprint  blob primary key,
  project_id   blob not null references projects,
  request      blob not null,
  status       integer,
  answer       text,
  created_at   text not null,
  taken_at     text not null
) strict;
create index idempotency_created on idempotency (created_at);

create table operators (
  id             blob primary key,
  email          text not null,
  email_key      text not null unique,
  role           text not null check (role in ('owner', 'editor', 'viewer')),
  password_hash  text not null,
  created_at     text not null
) strict;

-- Event types beyond the built-in ones.
create table event_types (
  project_id   blob not null references projects,
  type         text not null,
  schema       text not null,                            -- JSON Schema for `data`
  updated_at   text not null,
  primary key (project_id, type)
) strict;
