SELECT {columns}
FROM {table}
WHERE lower(trim(coalesce(status, 'pending'))) IN ('', 'pending', 'processing')
  AND NOT coalesce(array_contains(from_json(:skip_targets, 'ARRAY<STRING>'), lower(target_table)), false)
ORDER BY coalesce(priority, 0) DESC, created_at ASC NULLS LAST, event_id ASC NULLS LAST
LIMIT {limit}
