-- What the report of a bounce says (RFC 3464); `bounced_at` is there already.

alter table dispatches add column bounce_status text;
alter table dispatches add column bounce_diagnostic text;
