UPDATE {table}
SET
  table_name = :table_name,
  settled_by = :owner,
  generation = CAST(:generation AS BIGINT),
  definition = :definition,
  run_id = :run_id,
  manifest = :manifest,
  watermark_kind = :watermark_kind,
  watermark = :watermark,
  columns_json = :columns_json,
  `rows` = CAST(:rows AS BIGINT),
  published_at = CAST(:published_at AS TIMESTAMP)
WHERE lower(target) = lower(:target) AND owner = :owner AND generation = CAST(:generation AS BIGINT) - 1
