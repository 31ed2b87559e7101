-- Automations as people store them: a condition, texts of their own, and every version kept whole.
alter table automations add column condition text;
alter table automations add column texts text;     -- JSON: locale, subject and body of each; null: a built-in e-mail

-- A dispatch is rendered with the version that it was planned with.
create table automation_versions (
  project_id     uuid not null references projects,
  automation_id  uuid not null references automations,
  version        integer not null,
  at             timestamptz not null,
  content        text not null,                     -- JSON
  primary key (automation_id, version)
);
insert into automation_versions (project_id, automation_id, version, at, content)
select project_id, id, version, now(), json_build_object('name', name, 'event_type', event_type,
  'integration_id', integration_id, 'template', template, 'purpose', purpose, 'lifetime_s', lifetime_s,
  'max_age_s', max_age_s, 'link', link, 'enabled', enabled)::text
from automations;
