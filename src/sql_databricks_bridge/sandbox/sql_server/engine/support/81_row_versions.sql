-- rowversion: each database counts by itself (d{id}.row_versions; a temporary table by tsql.row_versions). A transaction
-- that takes a value holds, from before it to its own end, a shared advisory lock (database, lowest value it may have taken).
CREATE FUNCTION tsql.hold_row_versions(db int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  held text := coalesce(current_setting('tsql.row_versions_held', true), '');
  floor int8;
BEGIN
  IF strpos(held, ',' || db || ',') > 0 THEN
    RETURN;
  END IF;
  EXECUTE format('SELECT last_value + is_called::int FROM d%s.row_versions', db) INTO floor;
  PERFORM pg_advisory_xact_lock_shared(db, (floor & x'ffffffff'::int8)::bit(32)::int4);
  PERFORM set_config('tsql.row_versions_held', held || ',' || db || ',', true);
END $$;
CREATE FUNCTION tsql.before_row_versions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM tsql.hold_row_versions(substr(TG_TABLE_SCHEMA, 2)::int);
  RETURN NULL;
END $$;
-- The counter is read before the locks: a value that is below the answer was free, or held, when it was read.
CREATE FUNCTION tsql.active_row_version(place text, OUT counter int8, OUT value int8) LANGUAGE plpgsql AS $$
DECLARE
  db int := (SELECT id FROM tsql.databases WHERE lname = place);
  next int8;
BEGIN
  counter := to_regclass(format('d%s.row_versions', db))::oid;
  EXECUTE format('SELECT last_value + is_called::int FROM d%s.row_versions', db) INTO next;
  SELECT min(CASE WHEN low <= next THEN low ELSE low - x'100000000'::int8 END) INTO value FROM (
    SELECT (next & ~x'ffffffff'::int8) | objid::int8 AS low FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid::int8 = db AND granted) held;
  value := least(value, next);
END $$;
CREATE FUNCTION tsql.last_row_version(place text) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
  found int8;
BEGIN
  EXECUTE format('SELECT last_value - 1 + is_called::int FROM d%s.row_versions',
    (SELECT id FROM tsql.databases WHERE lname = place)) INTO found;
  RETURN found;
END $$;
CREATE FUNCTION tsql.count_row_versions(place text, name text, col text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %1$I.%2$I ALTER COLUMN %3$I SET DEFAULT int8send(nextval(''%1$I.row_versions''))',
    place, name, col);
  EXECUTE format('CREATE OR REPLACE TRIGGER "A_row_version" BEFORE INSERT OR UPDATE ON %1$I.%2$I FOR EACH STATEMENT '
    'EXECUTE FUNCTION tsql.before_row_versions()', place, name);
  EXECUTE format('ALTER TABLE %1$I.%2$I ENABLE ALWAYS TRIGGER "A_row_version"', place, name);
END $$;
-- Databases of a data folder that had one counter for all go on from it.
DO $do$
DECLARE
  b record;
  t record;
BEGIN
  FOR b IN SELECT id FROM tsql.databases LOOP
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS d%s', b.id);
    CONTINUE WHEN to_regclass(format('d%s.row_versions', b.id)) IS NOT NULL;
    EXECUTE format('CREATE SEQUENCE d%s.row_versions AS int8 START %s', b.id,
      (SELECT last_value + is_called::int FROM tsql.row_versions));
    FOR t IN SELECT def->>'pg_schema' AS place, def->>'pg_name' AS name, 'c' || (c->>'id') AS col FROM tsql.tables
      CROSS JOIN LATERAL jsonb_array_elements(def->'columns') c WHERE dbid = b.id AND c->'type'->>'name' = 'timestamp'
    LOOP
      PERFORM tsql.count_row_versions(t.place, t.name, t.col);
    END LOOP;
    FOR t IN SELECT pg_get_functiondef(p.oid) AS made FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
      WHERE s.nspname = 'd' || b.id AND strpos(p.prosrc, 'tsql.row_versions') > 0
    LOOP
      EXECUTE replace(t.made, 'tsql.row_versions', format('d%s.row_versions', b.id));
    END LOOP;
  END LOOP;
END $do$;
