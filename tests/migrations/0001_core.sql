insert into projects (id, slug, name, created_at) values
  (uuid '00000000-0000-7000-8000-000000000001', 'acme', 'Acme', '2026-01-01T00:00:00+00:00');
insert into integrations (id, project_id, name, kind, host, port, username, sealed_password, sender) values
  (uuid '00000000-0000-7000-8000-000000000002', uuid '00000000-0000-7000-8000-000000000001', 'main', 'smtp',
   'mail.acme.example', 587, 'acme', bytea '\x0102', 'Acme <no-reply@acme.example>');
insert into automations (id, project_id, name, event_type, integration_id, template, purpose, lifetime_s, max_age_s)
values
  (uuid '00000000-0000-7000-8000-000000000003', uuid '00000000-0000-7000-8000-000000000001', 'Reset password',
   'account.password-reset-requested', uuid '00000000-0000-7000-8000-000000000002', 'reset-password-confirm',
   'reset-password', 1800, 7200);
insert into members (project_id, id, username, username_key, email, email_key, applied_at, created_at) values
  (uuid '00000000-0000-7000-8000-000000000001', 'mem_1', 'Elon', 'elon', 'Elon@example.com', 'elon@example.com',
   '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00');
insert into event_identities (project_id, source, source_id, fingerprint, event_id) values
  (uuid '00000000-0000-7000-8000-000000000001', 'amqp', '1', bytea '\x0a', uuid '00000000-0000-7000-8000-000000000004');
insert into events (id, project_id, source, source_id, type, time, received_at, outcome, member_id, data) values
  (uuid '00000000-0000-7000-8000-000000000004', uuid '00000000-0000-7000-8000-000000000001', 'amqp', '1',
   'account.password-reset-requested', '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00.5+00:00', 'dispatched',
   'mem_1', '{"member":"elon"}');
insert into refusals (id, project, source, source_id, type, reason, detail, received_at) values
  (uuid '00000000-0000-7000-8000-000000000005', 'acme', 'amqp', '2', 'account.exploded', 'unknown-type',
   'there is no event type `account.exploded`', '2026-01-01T00:00:00+00:00');
insert into tokens (project_id, member_id, purpose, id, key_id, event_id, dispatches, lifetime_s, requested_at,
  expires_at) values
  (uuid '00000000-0000-7000-8000-000000000001', 'mem_1', 'reset-password',
   uuid '00000000-0000-4000-8000-000000000006', 'abcd1234', uuid '00000000-0000-7000-8000-000000000004', '[]', 1800,
   '2026-01-01T00:00:00+00:00', '2026-01-01T00:30:00+00:00');
insert into dispatches (id, project_id, event_id, automation_id, automation_version, integration_id, template,
  member_id, recipient, message_id, state, holder, due_at, expires_at, created_at) values
  (uuid '00000000-0000-7000-8000-000000000007', uuid '00000000-0000-7000-8000-000000000001',
   uuid '00000000-0000-7000-8000-000000000004', uuid '00000000-0000-7000-8000-000000000003', 1,
   uuid '00000000-0000-7000-8000-000000000002', 'reset-password-confirm', 'mem_1', 'Elon@example.com',
   '<7.0@acme.example>', 'sent', null, '2026-01-01T00:00:00+00:00', '2026-01-01T02:00:00+00:00',
   '2026-01-01T00:00:00+00:00'),
  (uuid '00000000-0000-7000-8000-000000000008', uuid '00000000-0000-7000-8000-000000000001',
   uuid '00000000-0000-7000-8000-000000000004', uuid '00000000-0000-7000-8000-000000000003', 1,
   uuid '00000000-0000-7000-8000-000000000002', 'reset-password-confirm', 'mem_1', 'Elon@example.com',
   '<8.0@acme.example>', 'pending', 1, '2026-01-01T00:00:00+00:00', '2026-01-01T02:00:00+00:00',
   '2026-01-01T00:00:00+00:00');
insert into attempts (dispatch_id, number, at, class, code, reply) values
  (uuid '00000000-0000-7000-8000-000000000007', 2, '2026-01-01T00:00:00+00:00', 'transient', 451, '451 later');
