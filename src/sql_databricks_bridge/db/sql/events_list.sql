SELECT {columns}
FROM {table}
WHERE :status IS NULL OR status = :status
ORDER BY created_at DESC NULLS LAST, event_id ASC NULLS LAST
LIMIT {limit}
