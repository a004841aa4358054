SELECT target, table_name, country, query, owner, settled_by, generation, definition, run_id, manifest, watermark_kind,
  watermark, columns_json, `rows`, published_at
FROM {table}
WHERE lower(target) = lower(:target)
