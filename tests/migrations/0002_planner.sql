insert into absences (project_id, member_id, answered, at) values
  (uuid '00000000-0000-7000-8000-000000000001', 'mem_1', 'dsp_00000000000070008000000000000007',
   '2026-01-01T00:00:00+00:00');
insert into throttles (project_id, fingerprint, started_at, count, ends_at) values
  (uuid '00000000-0000-7000-8000-000000000001', bytea '\x0102', '2026-01-01T00:00:00+00:00', 3,
   '2026-01-01T01:00:00+00:00');
