-- What the report of a bounce says (RFC 3464); `bounced_at` is there already.

alter table dispatches add column bounce_status text;
alter table dispatches add column bounce_diagnostic text;

-- People's replies that were passed on to their integration's `reply_to`, each once.
create table passed_on (
  project_id   uuid not null,
  fingerprint  bytea not null,                    -- keyed, of the reply's Message-ID, writer and text
  taken_at     timestamptz not null,              -- by somebody who may be at it still, or have died over it
  passed_at    timestamptz,
  primary key (project_id, fingerprint)
);
create index passed_on_taken on passed_on (taken_at);
