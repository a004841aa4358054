CREATE TABLE IF NOT EXISTS {table} (
  target STRING COMMENT 'catalog.schema.table as the YAML gives it',
  table_name STRING COMMENT 'catalog.schema.table where the rows are now',
  country STRING COMMENT 'the country whose query it is',
  query STRING COMMENT 'the query that is published there',
  owner STRING COMMENT 'who publishes now, or did last: only the owner writes',
  settled_by STRING COMMENT 'the owner that came to the end of its publication last',
  generation BIGINT COMMENT 'publications so far',
  definition STRING COMMENT 'digest of what the rows were asked by',
  run_id STRING COMMENT 'the run that was published last',
  manifest STRING COMMENT 'path of its manifest',
  watermark_kind STRING COMMENT 'rowversion, cursor, change_tracking, cdc or fingerprint',
  watermark STRING COMMENT 'how far the source is in the table; NULL: the next publication is a full one',
  columns_json STRING COMMENT 'names and SQL Server types of the published result',
  rows BIGINT COMMENT 'rows of the last full load',
  published_at TIMESTAMP COMMENT 'when it was published last'
)
COMMENT 'What SQL-Databricks Bridge published, and how far: written by the bridge alone'
TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')
