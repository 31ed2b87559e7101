-- Automations as people store them: migrations/postgres/0004_automations.sql says what each is for.
alter table automations add column condition text;
alter table automations add column texts text;

create table automation_versions (
  project_id     blob not null references projects,
  automation_id  blob not null references automations,
  version        integer not null,
  at             text not null,
  content        text not null,
  primary key (automation_id, version)
) strict;
insert into automation_versions (project_id, automation_id, version, at, content)
select project_id, id, version, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '+00:00', json_object('name', name,
  'event_type', event_type, 'integration_id', lower(hex(integration_id)), 'template', template, 'purpose', purpose,
  'lifetime_s', lifetime_s, 'max_age_s', max_age_s, 'link', link, 'enabled', enabled)
from automations;
