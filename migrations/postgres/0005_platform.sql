-- Keys, integrations and the API's own records.

alter table integrations add column rate text;           -- at most so many mails in one worker: `50/s`
alter table integrations add column return_path text;    -- envelope sender that names its dispatch
alter table integrations add column reply_path text;     -- Reply-To that names its dispatch

-- What an `Idempotency-Key` has done already. Never the key, a body or an answer: two keyed fingerprints, and
-- which record the answer told of.
create table idempotency (
  fingerprint  bytea primary key,                        -- of API key, route and Idempotency-Key
  project_id   uuid not null references projects,
  request      bytea not null,                           -- of the body: the same key with another one is refused
  status       integer,                                  -- null while the first call is under way
  answer       text,                                     -- the record of the answer
  created_at   timestamptz not null,
  taken_at     timestamptz not null                      -- a call that never ended may be made again
);
create index idempotency_created on idempotency (created_at);

-- Who may use the console.
create table operators (
  id             uuid primary key,
  email          text not null,
  email_key      text not null unique,                   -- ASCII case folded, what look-ups compare
  role           text not null check (role in ('owner', 'editor', 'viewer')),
  password_hash  text not null,
  created_at     timestamptz not null
);

-- Event types beyond the built-in ones.
create table event_types (
  project_id   uuid not null references projects,
  type         text not null,
  schema       text not null,                            -- JSON Schema for `data`
  updated_at   timestamptz not null,
  primary key (project_id, type)
);
