-- Change tracking. A tracked table's changes lie in d{id}.ct{table}, each with its transaction; the transaction gets its
-- version when it commits (ct_commits), one after the other, so that a version that can be seen has none missing below it.
CREATE TABLE tsql.ct_databases (dbid int PRIMARY KEY, retention int NOT NULL, units int NOT NULL, auto_cleanup bool NOT NULL,
  base int8 NOT NULL);
CREATE TABLE tsql.ct_tables (id int PRIMARY KEY, dbid int NOT NULL, columns_updated bool NOT NULL, begin_version int8 NOT NULL);
CREATE TABLE tsql.ct_open (dbid int NOT NULL, xid xid8 NOT NULL, PRIMARY KEY (dbid, xid));
CREATE TABLE tsql.ct_commits (dbid int NOT NULL, version int8 NOT NULL, xid xid8 NOT NULL, PRIMARY KEY (dbid, version));
CREATE INDEX ct_commits_xid ON tsql.ct_commits (xid);
CREATE FUNCTION tsql.ct_mark(db int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tsql.ct_open VALUES (db, pg_current_xact_id()) ON CONFLICT DO NOTHING $$;
-- Runs at COMMIT. The lock is let go when the commit can be seen, so the next version is given out after that.
CREATE FUNCTION tsql.ct_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(0, 0);
  EXECUTE format('INSERT INTO tsql.ct_commits VALUES ($1, nextval(''d%s.ct_versions''), $2)', NEW.dbid)
    USING NEW.dbid, NEW.xid;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER number_commit AFTER INSERT ON tsql.ct_open DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION tsql.ct_commit();
DO $do$ BEGIN
  ALTER TABLE tsql.ct_open ENABLE ALWAYS TRIGGER number_commit;
END $do$;
CREATE FUNCTION tsql.ct_current(db int) RETURNS int8 LANGUAGE sql STABLE AS $$
  SELECT greatest(b.base, (SELECT max(version) FROM tsql.ct_commits WHERE dbid = db)) FROM tsql.ct_databases b
    WHERE b.dbid = db $$;
CREATE FUNCTION tsql.ct_min_valid(db int, number int8) RETURNS int8 LANGUAGE sql STABLE AS $$
  SELECT begin_version FROM tsql.ct_tables WHERE dbid = db AND id = number $$;
CREATE FUNCTION tsql.ct_columns(updated int8) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
BEGIN
  PERFORM tsql.refuse('SYS_CHANGE_COLUMNS of an update (TRACK_COLUMNS_UPDATED is ON)');
  RETURN NULL;
END $$;
