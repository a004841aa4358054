MERGE INTO {table} AS t
USING (
  SELECT r.*
  FROM (SELECT from_json(:event, 'event_id STRING, operation STRING, source_table STRING, target_table STRING, primary_keys ARRAY<STRING>, priority INT, rows_expected INT, filter_conditions MAP<STRING, STRING>, metadata MAP<STRING, STRING>, created_at STRING', map('mode', 'FAILFAST')) AS r)
) AS s
ON t.event_id = s.event_id
WHEN NOT MATCHED THEN
  INSERT (event_id, operation, source_table, target_table, primary_keys, priority, status, rows_expected, filter_conditions, metadata, created_at)
  VALUES (s.event_id, s.operation, s.source_table, s.target_table, s.primary_keys, coalesce(s.priority, 0), 'pending', s.rows_expected, s.filter_conditions, s.metadata, coalesce(CAST(s.created_at AS TIMESTAMP), current_timestamp()))
