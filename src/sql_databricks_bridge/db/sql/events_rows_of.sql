SELECT {columns}
FROM {table}
WHERE event_id = :event_id
ORDER BY created_at ASC NULLS LAST
