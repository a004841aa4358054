-- What `bridge events init` sends; a test holds the two together.
CREATE TABLE IF NOT EXISTS IDENTIFIER(:events_table) (
  event_id STRING COMMENT 'unique name of the event, chosen by its author',
  operation STRING COMMENT 'INSERT, UPDATE, DELETE or UPSERT',
  source_table STRING COMMENT 'catalog.schema.table',
  target_table STRING COMMENT 'schema.table',
  primary_keys ARRAY<STRING> COMMENT 'required for UPDATE and DELETE',
  priority INT DEFAULT 0 COMMENT 'higher = processed first',
  status STRING DEFAULT 'pending' COMMENT 'pending, processing, completed, failed or blocked',
  rows_expected INT COMMENT 'rows that the author expects to change',
  rows_affected INT COMMENT 'rows that changed',
  discrepancy INT COMMENT 'expected - affected',
  warning STRING COMMENT 'what the author should know of a completed event',
  error_message STRING COMMENT 'why it failed or was blocked',
  filter_conditions MAP<STRING, STRING> COMMENT 'column = value, all of them; NULL means IS NULL',
  metadata MAP<STRING, STRING> COMMENT 'options of the event and notes of its author',
  created_at TIMESTAMP COMMENT 'when it was submitted',
  processed_at TIMESTAMP COMMENT 'when it ended'
)
COMMENT 'Events that SQL-Databricks Bridge applies to SQL Server'
TBLPROPERTIES (
  'delta.feature.allowColumnDefaults' = 'supported',
  'delta.enableDeletionVectors' = 'true'
)
