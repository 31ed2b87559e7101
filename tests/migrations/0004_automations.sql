update automations set condition = 'event.reason != ''forced''';
insert into automation_versions (project_id, automation_id, version, at, content)
select project_id, id, 99, '2026-01-01T00:00:00+00:00', '{}' from automations where enabled is not null;
