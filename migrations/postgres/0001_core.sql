-- The tables of the core path. Ids of events, refusals, dispatches and attempts are version 7 UUIDs, whose
-- first 48 bits are milliseconds: a partition holds the ids of one day, so an id alone finds its partition
-- and retention drops a partition instead of deleting rows. store/partitions.rs makes and drops them.

-- One row; every change of a project, an automation or an integration raises it, and workers that see a
-- higher number read the catalogue again.
create table catalogue (revision bigint not null);
insert into catalogue values (1);

create table projects (
  id          uuid primary key,
  slug        text not null unique check (slug ~ '^[a-z0-9-]{1,63}$'),
  name        text not null,
  settings    text not null default '{}',        -- JSON: link hosts, origins, brand, …
  paused_at   timestamptz,
  created_at  timestamptz not null
);

create table integrations (
  id              uuid primary key,
  project_id      uuid not null references projects,
  name            text not null,
  kind            text not null check (kind in ('smtp', 'capture')),
  host            text not null default '',
  port            integer not null default 0,
  tls             text not null default 'required' check (tls in ('required', 'implicit', 'none')),
  username        text,
  sealed_password bytea,                          -- sealed with project, integration, host, port, user and TLS mode
  sender          text not null,                  -- the From mailbox
  reply_to        text,
  connections     integer not null default 10 check (connections between 1 and 1000),
  auto_submitted  boolean not null default true,
  unrestricted    boolean not null default false, -- made by the operator (apply): may reach any address
  paused_at       timestamptz,
  retired_at      timestamptz                     -- kept while dispatches name it
);
create unique index integrations_name on integrations (project_id, name) where retired_at is null;

create table automations (
  id              uuid primary key,
  project_id      uuid not null references projects,
  version         integer not null default 1,
  name            text not null,
  event_type      text not null,
  integration_id  uuid not null references integrations,
  template        text not null,
  purpose         text,
  lifetime_s      bigint not null default 0,
  max_age_s       bigint not null,
  link            text,
  enabled         boolean not null default true,
  paused_at       timestamptz,
  retired_at      timestamptz
);
create unique index automations_name on automations (project_id, name) where retired_at is null;

create table members (
  project_id      uuid not null references projects,
  id              text not null,
  username        text not null,
  username_key    text not null,                  -- ASCII case folded, what look-ups compare
  email           text not null,
  email_key       text not null,
  first_name      text,
  last_name       text,
  locale          text,
  is_admin        boolean not null default false,
  password_hash   text,
  on_vacation     boolean not null default false,
  auto_replies    integer not null default 0,
  applied_at      timestamptz not null,           -- time of the event last applied
  tokens_ended_at timestamptz,                    -- requests from before this moment issue no token any more
  deleted_at      timestamptz,                    -- a tombstone keeps a deleted member deleted
  created_at      timestamptz not null,
  primary key (project_id, id)
);
-- The selective column first: on a table that was never analysed the planner takes any index that starts with
-- the project for as good as the right one, and then reads every member of the project for each key.
create unique index members_email on members (email_key, project_id) where deleted_at is null;
create unique index members_username on members (username_key, project_id) where deleted_at is null;

-- Who has said what already: narrow, and apart from the events because only this must be unique.
create table event_identities (
  project_id   uuid not null,
  source       text not null,
  source_id    text not null,
  fingerprint  bytea not null,                    -- SHA-256 over the type and the canonical data
  event_id     uuid not null,
  primary key (project_id, source, source_id)
) partition by hash (project_id, source, source_id);
create table event_identities_0 partition of event_identities for values with (modulus 4, remainder 0);
create table event_identities_1 partition of event_identities for values with (modulus 4, remainder 1);
create table event_identities_2 partition of event_identities for values with (modulus 4, remainder 2);
create table event_identities_3 partition of event_identities for values with (modulus 4, remainder 3);

create table events (
  id           uuid primary key,
  project_id   uuid not null,
  source       text not null,
  source_id    text not null,
  type         text not null,
  time         timestamptz not null,
  received_at  timestamptz not null,
  outcome      text not null,
  reason       text,
  field        text,
  member_id    text,
  data         text not null,                     -- JSON as published
  automations  text not null default '[]',        -- JSON: what matched, and what did not and why
  dispatches   text not null default '[]',        -- JSON: ids
  traceparent  text
) partition by range (id);

-- Refused events, without their bodies, so that a publisher can look up what became of one.
create table refusals (
  id           uuid primary key,
  project      text not null,                     -- as named by the publisher: it may not exist
  source       text not null,
  source_id    text not null,
  type         text not null,
  reason       text not null,
  field        text,
  detail       text not null,
  received_at  timestamptz not null
) partition by range (id);
create index refusals_identity on refusals (project, source, source_id);

create table tokens (
  project_id    uuid not null,
  member_id     text not null,
  purpose       text not null,
  scope         text not null default '',         -- the address, for undo-email-change
  id            uuid not null unique,             -- 128 random bits; the token itself is made from them with a key
  key_id        text not null,
  event_id      uuid not null,
  dispatches    text not null,                    -- JSON: ids of the dispatches that carry it
  payload       text not null default '{}',
  lifetime_s    bigint not null,
  requested_at  timestamptz not null,             -- the event's time: the newest request wins
  expires_at    timestamptz not null,
  used_at       timestamptz,
  ended_at      timestamptz,                      -- by a change of the account
  primary key (project_id, member_id, purpose, scope)
) with (fillfactor = 80);

create table workers (
  id           bigint generated always as identity primary key,
  started_at   timestamptz not null,
  heartbeat    timestamptz not null,
  dead_at      timestamptz                        -- fenced: its rows were given to others
);

create table dispatches (
  id             uuid primary key,
  project_id     uuid not null,
  event_id       uuid not null,
  automation_id  uuid not null,
  automation_version integer not null,
  integration_id uuid not null,
  template       text not null,
  member_id      text not null,
  recipient      text not null,
  purpose        text,
  token_id       uuid,
  message_id     text not null,
  state          text not null check (state in ('pending', 'sent', 'dead', 'cancelled')),
  reason         text,
  holder         bigint,                          -- the worker that has it in hand: shown as `sending`
  due_at         timestamptz not null,
  expires_at     timestamptz not null,            -- the event's time + max_age
  cancel_reason  text,                            -- asked of the holder
  attempts       integer not null default 0,      -- tries that are shown
  charged        integer not null default 0,      -- tries that count for the back-off
  first_at       timestamptz,                     -- the first try; later ones are rows of `attempts`
  first_class    text,
  first_code     integer,
  first_reply    text,
  sent_at        timestamptz,
  bounced_at     timestamptz,
  created_at     timestamptz not null
) partition by range (id);
-- The work to be fetched: small, since sent, dead, cancelled and held rows are not in it.
create index dispatches_due on dispatches (integration_id, due_at) where state = 'pending' and holder is null;
-- What waits and will be too old one day.
create index dispatches_expiring on dispatches (expires_at) where state = 'pending' and holder is null;
-- What is dead, to be counted and listed.
create index dispatches_dead on dispatches (project_id, id) include (reason) where state = 'dead';
-- What a dead worker held.
create index dispatches_held on dispatches (holder) where state = 'pending' and holder is not null;

create table attempts (
  dispatch_id  uuid not null,
  number       integer not null,
  at           timestamptz not null,
  class        text not null,
  code         integer,
  reply        text,
  primary key (dispatch_id, number)
) partition by range (dispatch_id);

create table api_keys (
  id           uuid primary key,
  project_id   uuid not null references projects,
  name         text not null,
  hash         bytea not null unique,             -- SHA-256 of the key, which is 256 random bits
  scopes       text not null,                     -- JSON
  created_at   timestamptz not null,
  revoked_at   timestamptz
);

-- Mail that a `capture` integration keeps instead of sending it, sealed, since it holds live tokens.
create table captures (
  dispatch_id  uuid primary key,
  project_id   uuid not null references projects,
  captured_at  timestamptz not null,
  sealed       bytea not null
);
create index captures_newest on captures (project_id, captured_at);

-- A message that was redelivered often is named here before it is planned alone, so that the worker after a
-- crash knows what took the one before it down.
create table suspects (
  fingerprint  bytea primary key,
  tries        integer not null,
  at           timestamptz not null
);

create table audit (
  id           uuid primary key,
  project_id   uuid not null references projects,
  at           timestamptz not null,
  actor        text not null,
  action       text not null,
  subject      text not null,
  client       text
);
create index audit_project on audit (project_id, id);
