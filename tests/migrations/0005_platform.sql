update integrations set rate = '50/s', return_path = 'bounces@acme.example';
insert into idempotency (fingerprint, project_id, request, status, answer, created_at, taken_at) values
  (bytea '\x0b', uuid '00000000-0000-7000-8000-000000000001', bytea '\x0c', 201, '/v1/integrations/1',
   '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00');
insert into operators (id, email, email_key, role, password_hash, created_at) values
  (uuid '00000000-0000-7000-8000-000000000009', 'Ops@acme.example', 'ops@acme.example', 'owner', '$argon2id$',
   '2026-01-01T00:00:00+00:00');
insert into event_types (project_id, type, schema, updated_at) values
  (uuid '00000000-0000-7000-8000-000000000001', 'billing.card-expiring', '{"type":"object"}',
   '2026-01-01T00:00:00+00:00');
