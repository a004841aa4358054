-- Errors, keys and numbers. Every error carries 'number|severity|state|message' under SQLSTATE TSQLE.
CREATE SCHEMA IF NOT EXISTS tsql;

CREATE TYPE tsql.dto AS (utc int8, off int2);

CREATE FUNCTION tsql.fail(number int, message text, severity int DEFAULT 16, state int DEFAULT 1) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'TSQLE', MESSAGE = number || '|' || severity || '|' || state || '|' || message;
END $$;

CREATE FUNCTION tsql.refuse(what text) RETURNS text LANGUAGE sql VOLATILE
AS $$ SELECT tsql.fail(50100, 'The sandbox does not support ' || what || '.') $$;

-- Accents off, for accent-insensitive collations and for sorting.
CREATE FUNCTION tsql.unaccent(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(x, 'àáâãäåçèéêëìíîïñòóôõöùúûüýÿšžÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝŸŠŽ',
                      'aaaaaaceeeeiiiinooooouuuuyyszAAAAAACEEEEIIIINOOOOOUUUUYYSZ') $$;

-- Sort keys: punctuation, then digits, then letters; accents break ties (the key itself follows as second sort key).
CREATE FUNCTION tsql.sort_ci(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(tsql.unaccent(lower(rtrim(x, ' '))), ':;<=>?@[\]^_`{|}~',
    chr(14) || chr(15) || chr(16) || chr(17) || chr(18) || chr(19) || chr(20) || chr(21) || chr(22) || chr(23)
    || chr(24) || chr(25) || chr(26) || chr(27) || chr(28) || chr(29) || chr(30)) $$;

CREATE FUNCTION tsql.guid_key(x uuid) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT substr(b, 11, 6) || substr(b, 9, 2) || substr(b, 8, 1) || substr(b, 7, 1) || substr(b, 6, 1) || substr(b, 5, 1)
      || substr(b, 4, 1) || substr(b, 3, 1) || substr(b, 2, 1) || substr(b, 1, 1) FROM (SELECT uuid_send(x) AS b) s $$;

CREATE FUNCTION tsql.ci_least(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_ci(b), lower(rtrim(b, ' '))) < (tsql.sort_ci(a), lower(rtrim(a, ' '))) THEN b ELSE a END $$;
CREATE FUNCTION tsql.ci_greatest(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_ci(b), lower(rtrim(b, ' '))) > (tsql.sort_ci(a), lower(rtrim(a, ' '))) THEN b ELSE a END $$;
CREATE AGGREGATE tsql.ci_min(text) (SFUNC = tsql.ci_least, STYPE = text, COMBINEFUNC = tsql.ci_least, PARALLEL = SAFE);
CREATE AGGREGATE tsql.ci_max(text) (SFUNC = tsql.ci_greatest, STYPE = text, COMBINEFUNC = tsql.ci_greatest, PARALLEL = SAFE);
CREATE FUNCTION tsql.dto_least(a tsql.dto, b tsql.dto) RETURNS tsql.dto LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT CASE WHEN (b).utc < (a).utc THEN b ELSE a END $$;
CREATE FUNCTION tsql.dto_greatest(a tsql.dto, b tsql.dto) RETURNS tsql.dto LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT CASE WHEN (b).utc > (a).utc THEN b ELSE a END $$;
CREATE AGGREGATE tsql.dto_min(tsql.dto) (SFUNC = tsql.dto_least, STYPE = tsql.dto);
CREATE AGGREGATE tsql.dto_max(tsql.dto) (SFUNC = tsql.dto_greatest, STYPE = tsql.dto);

-- Numbers -------------------------------------------------------------------------------------------------------------
CREATE FUNCTION tsql.to_tiny(x numeric) RETURNS int2 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF trunc(x) < 0 OR trunc(x) > 255 THEN
    PERFORM tsql.fail(220, 'Arithmetic overflow error for data type tinyint, value = ' || trunc(x)::text || '.', 16, 2);
  END IF;
  RETURN trunc(x)::int2;
END $$;
CREATE FUNCTION tsql.to_small(x numeric) RETURNS int2 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF trunc(x) < -32768 OR trunc(x) > 32767 THEN
    PERFORM tsql.fail(220, 'Arithmetic overflow error for data type smallint, value = ' || trunc(x)::text || '.', 16, 1);
  END IF;
  RETURN trunc(x)::int2;
END $$;
CREATE FUNCTION tsql.to_int(x numeric) RETURNS int4 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF trunc(x) < -2147483648 OR trunc(x) > 2147483647 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type int.', 16, 2);
  END IF;
  RETURN trunc(x)::int4;
END $$;
CREATE FUNCTION tsql.to_big(x numeric) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF trunc(x) < -9223372036854775808 OR trunc(x) > 9223372036854775807 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type bigint.', 16, 2);
  END IF;
  RETURN trunc(x)::int8;
END $$;
-- Doubles: the exact binary value decides (float8::numeric would round to 15 digits first).
CREATE FUNCTION tsql.float_int(x float8, target text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t float8 := trunc(x);
BEGIN
  IF target = 'tinyint' AND (t < 0 OR t > 255) OR target = 'smallint' AND (t < -32768 OR t > 32767) THEN
    PERFORM tsql.fail(220, 'Arithmetic overflow error for data type ' || target || ', value = ' || t::text || '.', 16, 2);
  END IF;
  IF target = 'int' AND (t < -2147483648 OR t > 2147483647) THEN
    PERFORM tsql.fail(232, 'Arithmetic overflow error for type int, value = ' || tsql.exact(x)::numeric(38,6)::text || '.', 16, 3);
  END IF;
  IF target = 'bigint' AND (t < -9223372036854775808 OR t >= 9223372036854775808) THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type bigint.', 16, 2);
  END IF;
  RETURN t::int8;
END $$;
-- A double's value with 17 digits.
CREATE FUNCTION tsql.exact(x float8) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT x::text::numeric $$;

CREATE FUNCTION tsql.num_dec(x numeric, p int, s int, source text DEFAULT 'numeric') RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r numeric := round(x, s);
BEGIN
  IF abs(r) >= 10::numeric ^ (p - s) THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting ' || source || ' to data type numeric.', 16, 8);
  END IF;
  RETURN r;
END $$;
CREATE FUNCTION tsql.num_money(x numeric, target text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r numeric := round(x, 4);
BEGIN
  IF target = 'money' AND (r < -922337203685477.5808 OR r > 922337203685477.5807)
     OR target = 'smallmoney' AND (r < -214748.3648 OR r > 214748.3647) THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type ' || target || '.', 16, 4);
  END IF;
  RETURN r;
END $$;
-- SQL Server's decimal division cuts off digits past the result's scale.
CREATE FUNCTION tsql.dec_div(a numeric, b numeric, p int, s int) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN tsql.num_dec(round(div(a * 10::numeric ^ s, b) / 10::numeric ^ s, s), p, s, 'expression');
END $$;
CREATE FUNCTION tsql.avg_int(total int8, n int8) RETURNS int4 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (tsql.to_int(total) / n)::int4 $$;
CREATE FUNCTION tsql.avg_big(total numeric, n int8) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT tsql.to_big(total) / n $$;
CREATE FUNCTION tsql.power_num(x float8, y float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN power(x, y);
EXCEPTION WHEN invalid_argument_for_power_function THEN
  PERFORM tsql.fail(3623, 'An invalid floating point operation occurred.');
END $$;
-- ROUND on floats rounds the decimal digits that the value shows.
CREATE FUNCTION tsql.round_float(x float8, d int, cut bool) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN cut THEN trunc(x::text::numeric, d) ELSE round(x::text::numeric, d) END::float8 $$;

-- Recursion: the level of the next row, or Msg 530.
CREATE FUNCTION tsql.next_level(level int, most int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF most > 0 AND level >= most THEN
    PERFORM tsql.fail(530, 'The statement terminated. The maximum recursion ' || most
                      || ' has been exhausted before statement completion.');
  END IF;
  RETURN level + 1;
END $$;
