-- Offsets from UTC: SWITCHOFFSET and TODATETIMEOFFSET take minutes, or a text of the form {+|-}hh:mm.
CREATE FUNCTION tsql.offset_minutes(x text, name text) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  parts text[] := regexp_match(x, '^\s*([+-])([01][0-9]):([0-5][0-9])\s*$');
  minutes int := parts[2]::int * 60 + parts[3]::int;
BEGIN
  IF minutes IS NULL OR minutes > 840 THEN
    PERFORM tsql.fail(9812, 'The timezone provided to builtin function ' || name || ' is invalid.');
  END IF;
  RETURN CASE parts[1] WHEN '-' THEN - minutes ELSE minutes END;
END $$;
-- The same instant under another offset.
CREATE FUNCTION tsql.switch_offset(x tsql.dto, off int) RETURNS tsql.dto LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF off NOT BETWEEN -840 AND 840 THEN
    PERFORM tsql.fail(9812, 'The timezone provided to builtin function switchoffset is invalid.');
  END IF;
  RETURN tsql.make_dto((x).utc + off::int8 * 600000000, off);
END $$;
