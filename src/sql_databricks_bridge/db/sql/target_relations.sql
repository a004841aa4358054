-- Four kinds of rows: columns of unique keys, events of triggers, columns whose change an UPDATE passes on to another
-- table (schema_name is that table's whole name), and every reference in the database that changes the referring rows. on_delete and on_update are referential actions (0 none, 1 cascade), or whether a trigger is for it.
SELECT 'unique' AS kind, i.index_id AS from_id, 0 AS to_id, CAST(NULL AS nvarchar(128)) AS schema_name, c.name AS name,
       0 AS on_delete, 0 AS on_update, 0 AS instead_of
  FROM sys.indexes AS i
  JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id
  JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id
 WHERE i.object_id = ? AND i.is_unique = 1 AND i.is_disabled = 0 AND i.has_filter = 0 AND ic.key_ordinal > 0
UNION ALL
SELECT 'trigger', g.parent_id, 0, NULL, g.name,
       CASE WHEN e.type_desc = 'DELETE' THEN 1 ELSE 0 END, CASE WHEN e.type_desc = 'UPDATE' THEN 1 ELSE 0 END,
       CAST(g.is_instead_of_trigger AS int)
  FROM sys.triggers AS g
  JOIN sys.trigger_events AS e ON e.object_id = g.object_id
 WHERE g.parent_class = 1 AND g.parent_id = ? AND g.is_disabled = 0
UNION ALL
SELECT 'passed_on', f.referenced_object_id, f.parent_object_id, s.name + N'.' + o.name, c.name,
       0, CAST(f.update_referential_action AS int), 0
  FROM sys.foreign_keys AS f
  JOIN sys.foreign_key_columns AS fc ON fc.constraint_object_id = f.object_id
  JOIN sys.columns AS c ON c.object_id = fc.referenced_object_id AND c.column_id = fc.referenced_column_id
  JOIN sys.objects AS o ON o.object_id = f.parent_object_id
  JOIN sys.schemas AS s ON s.schema_id = o.schema_id
 WHERE f.referenced_object_id = ? AND f.update_referential_action <> 0
UNION ALL
SELECT 'reference', f.referenced_object_id, f.parent_object_id, s.name, o.name,
       CAST(f.delete_referential_action AS int), CAST(f.update_referential_action AS int), 0
  FROM sys.foreign_keys AS f
  JOIN sys.objects AS o ON o.object_id = f.parent_object_id
  JOIN sys.schemas AS s ON s.schema_id = o.schema_id
 WHERE f.delete_referential_action <> 0 OR f.update_referential_action <> 0;
