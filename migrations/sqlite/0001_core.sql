-- The tables of the core path: migrations/postgres/0001_core.sql says what each is for. Differences: ids are
-- BLOBs, times are RFC 3339 text with microseconds, and nothing is partitioned; retention deletes rows.

-- One row; every change of a project, an automation or an integration raises it, and workers that see a
-- higher number read the catalogue again.
create table catalogue (revision integer not null) strict;
insert into catalogue values (1);

create table projects (
  id          blob primary key,
  slug        text not null unique check (slug not glob '*[^a-z0-9-]*' and length(slug) between 1 and 63),
  name        text not null,
  settings    text not null default '{}',        -- JSON: link hosts, origins, brand, …
  paused_at   text,
  created_at  text not null
) strict;

create table integrations (
  id              blob primary key,
  project_id      blob not null references projects,
  name            text not null,
  kind            text not null check (kind in ('smtp', 'capture')),
  host            text not null default '',
  port            integer not null default 0,
  tls             text not null default 'required' check (tls in ('required', 'implicit', 'none')),
  username        text,
  sealed_password blob,                          -- sealed with project, integration, host, port, user and TLS mode
  sender          text not null,                  -- the From mailbox
  reply_to        text,
  connections     integer not null default 10 check (connections between 1 and 1000),
  auto_submitted  integer not null default 1,
  unrestricted    integer not null default 0, -- made by the operator (apply): may reach any address
  paused_at       text,
  retired_at      text                     -- kept while dispatches name it
) strict;
create unique index integrations_name on integrations (project_id, name) where retired_at is null;

create table automations (
  id              blob primary key,
  project_id      blob not null references projects,
  version         integer not null default 1,
  name            text not null,
  event_type      text not null,
  integration_id  blob not null references integrations,
  template        text not null,
  purpose         text,
  lifetime_s      integer not null default 0,
  max_age_s       integer not null,
  link            text,
  enabled         integer not null default 1,
  paused_at       text,
  retired_at      text
) strict;
create unique index automations_name on automations (project_id, name) where retired_at is null;

create table members (
  project_id      blob not null references projects,
  id              text not null,
  username        text not null,
  username_key    text not null,                  -- ASCII case folded, what look-ups compare
  email           text not null,
  email_key       text not null,
  first_name      text,
  last_name       text,
  locale          text,
  is_admin        integer not null default 0,
  password_hash   text,
  on_vacation     integer not null default 0,
  auto_replies    integer not null default 0,
  applied_at      text not null,           -- time of the event last applied
  tokens_ended_at text,                    -- requests from before this moment issue no token any more
  deleted_at      text,                    -- a tombstone keeps a deleted member deleted
  created_at      text not null,
  primary key (project_id, id)
) strict;
create unique index members_email on members (project_id, email_key) where deleted_at is null;
create unique index members_username on members (project_id, username_key) where deleted_at is null;

-- Who has said what already: narrow, and apart from the events because only this must be unique.
create table event_identities (
  project_id   blob not null,
  source       text not null,
  source_id    text not null,
  fingerprint  blob not null,                    -- SHA-256 over the type and the canonical data
  event_id     blob not null,
  primary key (project_id, source, source_id)
) strict;

create table events (
  id           blob primary key,
  project_id   blob not null,
  source       text not null,
  source_id    text not null,
  type         text not null,
  time         text not null,
  received_at  text not null,
  outcome      text not null,
  reason       text,
  field        text,
  member_id    text,
  data         text not null,                     -- JSON as published
  automations  text not null default '[]',        -- JSON: what matched, and what did not and why
  dispatches   text not null default '[]',        -- JSON: ids
  traceparent  text
) strict;

-- Refused events, without their bodies, so that a publisher can look up what became of one.
create table refusals (
  id           blob primary key,
  project      text not null,                     -- as named by the publisher: it may not exist
  source       text not null,
  source_id    text not null,
  type         text not null,
  reason       text not null,
  field        text,
  detail       text not null,
  received_at  text not null
) strict;
create index refusals_identity on refusals (project, source, source_id);

create table tokens (
  project_id    blob not null,
  member_id     text not null,
  purpose       text not null,
  scope         text not null default '',         -- the address, for undo-email-change
  id            blob not null unique,             -- 128 random bits; the token itself is made from them with a key
  key_id        text not null,
  event_id      blob not null,
  dispatches    text not null,                    -- JSON: ids of the dispatches that carry it
  payload       text not null default '{}',
  lifetime_s    integer not null,
  requested_at  text not null,             -- the event's time: the newest request wins
  expires_at    text not null,
  used_at       text,
  ended_at      text,                      -- by a change of the account
  primary key (project_id, member_id, purpose, scope)
) strict;

create table workers (
  id           integer primary key autoincrement,
  started_at   text not null,
  heartbeat    text not null,
  dead_at      text                        -- fenced: its rows were given to others
) strict;

create table dispatches (
  id             blob primary key,
  project_id     blob not null,
  event_id       blob not null,
  automation_id  blob not null,
  automation_version integer not null,
  integration_id blob not null,
  template       text not null,
  member_id      text not null,
  recipient      text not null,
  purpose        text,
  token_id       blob,
  message_id     text not null,
  state          text not null check (state in ('pending', 'sent', 'dead', 'cancelled')),
  reason         text,
  holder         integer,                          -- the worker that has it in hand: shown as `sending`
  due_at         text not null,
  expires_at     text not null,            -- the event's time + max_age
  cancel_reason  text,                            -- asked of the holder
  attempts       integer not null default 0,      -- tries that are shown
  charged        integer not null default 0,      -- tries that count for the back-off
  first_at       text,                     -- the first try; later ones are rows of `attempts`
  first_class    text,
  first_code     integer,
  first_reply    text,
  sent_at        text,
  bounced_at     text,
  created_at     text not null
) strict;
create index dispatches_due on dispatches (integration_id, due_at) where state = 'pending' and holder is null;
create index dispatches_expiring on dispatches (expires_at) where state = 'pending' and holder is null;
create index dispatches_dead on dispatches (project_id, id, reason) where state = 'dead';
-- What a dead worker held.
create index dispatches_held on dispatches (holder) where state = 'pending' and holder is not null;

create table attempts (
  dispatch_id  blob not null,
  number       integer not null,
  at           text not null,
  class        text not null,
  code         integer,
  reply        text,
  primary key (dispatch_id, number)
) strict;

create table api_keys (
  id           blob primary key,
  project_id   blob not null references projects,
  name         text not null,
  hash         blob not null unique,             -- SHA-256 of the key, which is 256 random bits
  scopes       text not null,                     -- JSON
  created_at   text not null,
  revoked_at   text
) strict;

-- Mail that a `capture` integration keeps instead of sending it, sealed, since it holds live tokens.
create table captures (
  dispatch_id  blob primary key,
  project_id   blob not null references projects,
  captured_at  text not null,
  sealed       blob not null
) strict;
create index captures_newest on captures (project_id, captured_at);

-- A message that was redelivered often is named here before it is planned alone, so that the worker after a
-- crash knows what took the one before it down.
create table suspects (
  fingerprint  blob primary key,
  tries        integer not null,
  at           text not null
) strict;

create table audit (
  id           blob primary key,
  project_id   blob not null references projects,
  at           text not null,
  actor        text not null,
  action       text not null,
  subject      text not null,
  client       text
) strict;
create index audit_project on audit (project_id, id);
