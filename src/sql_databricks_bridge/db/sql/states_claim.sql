MERGE INTO {table} AS t
USING (
  SELECT :target AS target, :country AS country, :query AS query, :owner AS owner, :previous AS previous
) AS s
ON lower(t.target) = lower(s.target)
WHEN MATCHED AND t.country = s.country AND t.query = s.query AND t.owner = s.previous THEN
  UPDATE SET owner = s.owner
WHEN NOT MATCHED AND s.previous IS NULL THEN
  INSERT (target, table_name, country, query, owner, generation, definition)
  VALUES (s.target, s.target, s.country, s.query, s.owner, 0, '')
