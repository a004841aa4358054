MERGE INTO {table} AS t
USING (
  SELECT r.*
  FROM (SELECT explode(from_json(:outcomes, 'ARRAY<STRUCT<event_id: STRING, status: STRING, rows_affected: INT, discrepancy: INT, warning: STRING, error_message: STRING, processed_at: STRING, fingerprint: STRING>>', map('mode', 'FAILFAST'))) AS r)
) AS s
ON t.event_id <=> s.event_id AND lower(trim(coalesce(t.status, 'pending'))) IN ('', 'pending', 'processing')
  AND (s.fingerprint IS NULL OR s.fingerprint = {fingerprint})
WHEN MATCHED AND s.status IN ('pending', 'processing') THEN
  UPDATE SET status = s.status
WHEN MATCHED AND s.status NOT IN ('pending', 'processing') THEN
  UPDATE SET
    status = s.status,
    rows_affected = s.rows_affected,
    discrepancy = s.discrepancy,
    warning = s.warning,
    error_message = s.error_message,
    processed_at = CAST(s.processed_at AS TIMESTAMP)
