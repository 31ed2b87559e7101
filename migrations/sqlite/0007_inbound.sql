-- migrations/postgres/0007_inbound.sql says what each is for.

alter table dispatches add column bounce_status text;
alter table dispatches add column bounce_diagnostic text;
