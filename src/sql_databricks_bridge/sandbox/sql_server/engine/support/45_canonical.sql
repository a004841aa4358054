-- Canonical text, fast: CONVERT with the styles that lose nothing, over every row of a table. No plpgsql; timestamp_out and
-- the others are immutable here, where DateStyle and the locale never change, so that these functions are inlined.
CREATE FUNCTION tsql.timestamp_out(x timestamp) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'timestamp_out';
CREATE FUNCTION tsql.date_out(x date) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'date_out';
CREATE FUNCTION tsql.float_format(x float8, form text) RETURNS text
LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'float8_to_char';

CREATE FUNCTION tsql.iso_date(d date) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT textin(tsql.date_out(d)) $$;
-- Seconds since 0001-01-01 as 'yyyy-mm-dd hh:mi:ss'.
CREATE FUNCTION tsql.iso_seconds(s int8) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT textin(tsql.timestamp_out(((s - 63082281600) * 1000000)::timestamp)) $$;
-- 100 ns since 0001-01-01 with `digits` (1 to 7) of the fraction.
CREATE FUNCTION tsql.iso_ticks(t int8, digits int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT textin(tsql.timestamp_out(((t / 10000000 - 63082281600) * 1000000)::timestamp))
         || '.' || substr((10000000 + t % 10000000)::text, 2, digits) $$;
-- A datetime, 1/300 s since 1900-01-01: its fraction is .000, .003 or .007.
CREATE FUNCTION tsql.iso_datetime(x int8) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT textin(tsql.timestamp_out((((x + 17977982400000) / 300 - 63082281600) * 1000000)::timestamp))
         || '.' || substr((1000 + ((x + 17977982400000) % 300 * 10 + 1) / 3)::text, 2) $$;
-- Style 126 leaves a fraction of 0 away.
CREATE FUNCTION tsql.iso_datetime_t(x int8) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT replace(textin(tsql.timestamp_out((((x + 17977982400000) / 300 - 63082281600) * 1000000)::timestamp)), ' ', 'T')
         || CASE WHEN x % 300 = 0 THEN '' ELSE '.' || substr((1000 + ((x + 17977982400000) % 300 * 10 + 1) / 3)::text, 2) END $$;
-- Styles 1 to 3: all digits of the binary value, the exponent with three. PostgreSQL writes it with two where they do.
CREATE FUNCTION tsql.float_exp(x float8, form text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN x = 0 OR abs(x) >= 1e-99 AND abs(x) < 1e100
              THEN replace(replace(ltrim(tsql.float_format(x + 0, form)), 'e+', 'e+0'), 'e-', 'e-0')
              ELSE ltrim(tsql.float_format(x, form)) END $$;
-- The GUID of a sort key: MIN and MAX of uniqueidentifier.
CREATE FUNCTION tsql.key_guid(k bytea) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT encode(reverse(substr(k, 9, 8)) || substr(k, 7, 2) || substr(k, 1, 6), 'hex')::uuid $$;
