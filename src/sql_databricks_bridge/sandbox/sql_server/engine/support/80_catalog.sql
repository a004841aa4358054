-- What SQL Server's catalog holds and PostgreSQL's does not. Names are compared by their lower case.
CREATE TABLE tsql.databases (id int PRIMARY KEY, name text NOT NULL, lname text NOT NULL UNIQUE,
  snapshot bool NOT NULL DEFAULT false, created timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'));
CREATE TABLE tsql.schemas (dbid int NOT NULL REFERENCES tsql.databases ON DELETE CASCADE, id int NOT NULL, name text NOT NULL,
  lname text NOT NULL, PRIMARY KEY (dbid, id), UNIQUE (dbid, lname));
CREATE TABLE tsql.tables (id int PRIMARY KEY, dbid int NOT NULL REFERENCES tsql.databases ON DELETE CASCADE,
  lschema text NOT NULL, lname text NOT NULL, created timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
  modified timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'), def jsonb NOT NULL, UNIQUE (dbid, lschema, lname));
CREATE TABLE tsql.objects (id int PRIMARY KEY, dbid int NOT NULL REFERENCES tsql.databases ON DELETE CASCADE,
  lschema text NOT NULL, lname text NOT NULL, kind text NOT NULL, created timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
  modified timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'), def jsonb NOT NULL, UNIQUE (dbid, lschema, lname));
CREATE SEQUENCE tsql.object_ids START 581577110 INCREMENT 16;
CREATE SEQUENCE tsql.row_versions AS int8 START 2001;
CREATE TABLE tsql.settings (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO tsql.databases (id, name, lname, snapshot) VALUES (1, 'master', 'master', true), (2, 'tempdb', 'tempdb', false),
  (3, 'model', 'model', false), (4, 'msdb', 'msdb', true);
INSERT INTO tsql.schemas SELECT d.id, s.id, s.name, s.name FROM tsql.databases d,
  (VALUES (1, 'dbo'), (2, 'guest'), (3, 'INFORMATION_SCHEMA'), (4, 'sys')) s(id, name);
UPDATE tsql.schemas SET lname = lower(name);
CREATE FUNCTION tsql.object_name(number int) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT def->>'name' FROM tsql.tables WHERE id = number
  UNION ALL SELECT def->>'name' FROM tsql.objects WHERE id = number
  UNION ALL SELECT g->>'name' FROM tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'triggers') g
    WHERE (g->>'object_id')::int = number LIMIT 1 $$;
CREATE FUNCTION tsql.object_schema(number int) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT def->>'schema' FROM tsql.tables WHERE id = number
  UNION ALL SELECT def->>'schema' FROM tsql.objects WHERE id = number
  UNION ALL SELECT t.def->>'schema' FROM tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'triggers') g
    WHERE (g->>'object_id')::int = number LIMIT 1 $$;
CREATE FUNCTION tsql.has_trigger(number int, event text) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT 1 FROM jsonb_array_elements(t.def->'triggers') g WHERE g->'events' ? event)::int
    FROM tsql.tables t WHERE t.id = number $$;
CREATE FUNCTION tsql.trigger_property(number int, path text, event text) RETURNS int LANGUAGE sql STABLE AS $$
  SELECT (CASE WHEN path = 'events' THEN g->'events' ? event ELSE (g->>path)::bool = (event = 'true') END)::int
    FROM tsql.tables t CROSS JOIN LATERAL jsonb_array_elements(t.def->'triggers') g
    WHERE (g->>'object_id')::int = number $$;
CREATE FUNCTION tsql.count_rows(place text, name text) RETURNS int8 LANGUAGE plpgsql STABLE AS $$
DECLARE found int8;
BEGIN
  EXECUTE format('SELECT count(*) FROM %I.%I', place, name) INTO found;
  RETURN found;
END $$;
