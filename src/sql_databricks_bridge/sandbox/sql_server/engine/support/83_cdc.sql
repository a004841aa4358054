-- Change data capture. A capture instance's changes lie in d{id}.cdc{n}, each with its transaction; the transaction gets its
-- LSN when it commits, one after the other, so that an LSN that can be seen has none missing below it.
CREATE TABLE tsql.cdc_databases (dbid int PRIMARY KEY);
CREATE SEQUENCE tsql.cdc_numbers;
CREATE TABLE tsql.cdc_instances (number int PRIMARY KEY, dbid int NOT NULL, source int NOT NULL, name text NOT NULL, role text,
  net bool NOT NULL, index_name text, columns jsonb NOT NULL, start_lsn bytea NOT NULL,
  created timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'));
CREATE UNIQUE INDEX cdc_names ON tsql.cdc_instances (dbid, lower(name));
CREATE TABLE tsql.cdc_open (dbid int NOT NULL, xid xid8 NOT NULL, PRIMARY KEY (dbid, xid));
CREATE TABLE tsql.cdc_commits (dbid int NOT NULL, lsn bytea NOT NULL, xid xid8 NOT NULL, PRIMARY KEY (dbid, lsn));
CREATE INDEX cdc_commits_xid ON tsql.cdc_commits (xid);
-- A number as an LSN: the log file's sequence number, the block, the slot.
CREATE FUNCTION tsql.lsn(n int8, slot int DEFAULT 1) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT int8send(n + 137438953472) || int2send(slot::int2) $$;
CREATE FUNCTION tsql.next_lsn(db int) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
  -- Change tracking's lock: two of them, taken in either order, would be a deadlock.
  PERFORM pg_advisory_xact_lock(0, 0);
  RETURN tsql.lsn(nextval(format('d%s.cdc_lsns', db)));
END $$;
CREATE FUNCTION tsql.cdc_mark(db int) RETURNS void LANGUAGE sql AS $$
  INSERT INTO tsql.cdc_open VALUES (db, pg_current_xact_id()) ON CONFLICT DO NOTHING $$;
-- Runs at COMMIT. The lock is let go when the commit can be seen, so the next LSN is given out after that.
CREATE FUNCTION tsql.cdc_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
  INSERT INTO tsql.cdc_commits VALUES (NEW.dbid, tsql.next_lsn(NEW.dbid), NEW.xid);
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER number_commit AFTER INSERT ON tsql.cdc_open DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION tsql.cdc_commit();
DO $do$ BEGIN
  ALTER TABLE tsql.cdc_open ENABLE ALWAYS TRIGGER number_commit;
END $do$;
CREATE FUNCTION tsql.cdc_max_lsn(db int) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT lsn FROM tsql.cdc_commits WHERE dbid = db ORDER BY lsn DESC LIMIT 1 $$;
-- Zeros where there is no such instance.
CREATE FUNCTION tsql.cdc_min_lsn(db int, instance text) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT start_lsn FROM tsql.cdc_instances WHERE dbid = db AND lower(name) = lower(rtrim(instance, ' '))),
                  '\x00000000000000000000'::bytea) $$;
-- The LSN after this one (1) or before it (-1): a number of ten bytes.
CREATE FUNCTION tsql.cdc_step_lsn(x bytea, step int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  at int := 9;
BEGIN
  WHILE at >= 0 LOOP
    IF get_byte(x, at) <> (CASE WHEN step > 0 THEN 255 ELSE 0 END) THEN
      RETURN set_byte(x, at, get_byte(x, at) + step);
    END IF;
    x := set_byte(x, at, CASE WHEN step > 0 THEN 0 ELSE 255 END);
    at := at - 1;
  END LOOP;
  RETURN x;
END $$;
-- Msg 313: a range outside the validity interval, or an unknown row filter.
CREATE FUNCTION tsql.cdc_check(instance int, kind text, lo bytea, hi bytea, row_filter text, filters text[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  PERFORM 1 FROM tsql.cdc_instances i WHERE i.number = instance AND lo >= i.start_lsn AND hi <= tsql.cdc_max_lsn(i.dbid)
    AND lo <= hi AND lower(rtrim(row_filter, ' ')) = ANY (filters);
  IF NOT FOUND THEN
    PERFORM tsql.fail(313, 'An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_'
                           || kind || '_changes_ ... .', 16, 3);
  END IF;
END $$;
