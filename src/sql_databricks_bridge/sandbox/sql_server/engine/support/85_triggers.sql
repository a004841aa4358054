-- What an AFTER trigger will see: the rows a statement changed, put where the session made room for them.
CREATE FUNCTION tsql.capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE place text := lower(TG_OP) || '_' || TG_TABLE_NAME;
BEGIN
  IF TG_OP <> 'DELETE' AND to_regclass('pg_temp.cap_new_' || place) IS NOT NULL THEN
    EXECUTE format('INSERT INTO pg_temp.%I SELECT * FROM new_rows', 'cap_new_' || place);
  END IF;
  IF TG_OP <> 'INSERT' AND to_regclass('pg_temp.cap_old_' || place) IS NOT NULL THEN
    EXECUTE format('INSERT INTO pg_temp.%I SELECT * FROM old_rows', 'cap_old_' || place);
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION tsql.current_value(counter text) RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
  RETURN currval(counter);
EXCEPTION WHEN object_not_in_prerequisite_state THEN
  RETURN NULL;
END $$;
