UPDATE {table}
SET watermark_kind = NULL, watermark = NULL, owner = 'reset'
WHERE lower(target) = lower(:target)
