UPDATE {table}
SET status = 'pending', rows_affected = NULL, discrepancy = NULL, warning = NULL, error_message = NULL, processed_at = NULL
WHERE event_id = :event_id AND status IN ('failed', 'blocked')
