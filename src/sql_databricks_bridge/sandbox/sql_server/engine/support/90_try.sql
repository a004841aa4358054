-- TRY_CAST and TRY_CONVERT: each conversion once more, NULL instead of an error; refusals stay refusals.
DO $do$
DECLARE
  f record;
  n int;
  args text;
BEGIN
  FOR f IN
    SELECT p.proname, p.pronargs, pg_get_function_identity_arguments(p.oid) AS signature, p.prorettype::regtype::text AS result
    FROM pg_proc p JOIN pg_namespace s ON s.oid = p.pronamespace
    WHERE s.nspname = 'tsql' AND p.proname IN ('to_tiny', 'to_small', 'to_int', 'to_big', 'float_int', 'num_dec', 'num_money',
      'str_int', 'str_bit', 'str_dec', 'str_float', 'str_money', 'str_guid', 'str_bin', 'str_date', 'str_ticks', 'str_dto',
      'ticks_datetime', 'ticks_small', 'fit_ticks', 'fit_text', 'make_dto', 'number_ticks', 'xml_text')
  LOOP
    args := '';
    FOR n IN 1 .. f.pronargs LOOP
      args := args || CASE WHEN n > 1 THEN ', ' ELSE '' END || '$' || n;
    END LOOP;
    EXECUTE format($f$CREATE OR REPLACE FUNCTION tsql.try_%I(%s) RETURNS %s LANGUAGE plpgsql IMMUTABLE STRICT AS $b$
      BEGIN RETURN tsql.%I(%s);
      EXCEPTION WHEN OTHERS THEN IF SQLERRM LIKE '50100|%%' THEN RAISE; END IF; RETURN NULL; END $b$ $f$,
      f.proname, f.signature, f.result, f.proname, args);
  END LOOP;
END $do$;
