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

-- Sort keys: punctuation (by code, in chr(15) to chr(47)), then digits, then letters; accents break ties (the key itself
-- follows as second sort key). This is how a SQL collation (SQL_...) orders char and varchar.
CREATE FUNCTION tsql.sort_ci(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(tsql.unaccent(lower(rtrim(x, ' '))), E' !"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~',
    E'\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !"#$%&\'()*+,-./') $$;
-- Windows collations, and nchar and nvarchar under any but a binary one: a word sort, which passes over - and '.
CREATE FUNCTION tsql.sort_word(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(tsql.unaccent(lower(rtrim(x, ' '))), E' !"#$%&()*,./:;?@[\\]^_`{|}~+<=>-\'',
    E'\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !"#$%&\'()*+,-') $$;
-- Where only - and ' differ, the string that has them comes last.
CREATE FUNCTION tsql.word_tie(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT translate(lower(rtrim(x, ' ')), E'\'-', E'\U0010FFFC\U0010FFFD') $$;

CREATE FUNCTION tsql.guid_key(x uuid) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT substr(b, 11, 6) || substr(b, 9, 2) || substr(b, 8, 1) || substr(b, 7, 1) || substr(b, 6, 1) || substr(b, 5, 1)
      || substr(b, 4, 1) || substr(b, 3, 1) || substr(b, 2, 1) || substr(b, 1, 1) FROM (SELECT uuid_send(x) AS b) s $$;

CREATE FUNCTION tsql.ci_least(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_ci(b), lower(rtrim(b, ' '))) < (tsql.sort_ci(a), lower(rtrim(a, ' '))) THEN b ELSE a END $$;
CREATE FUNCTION tsql.ci_greatest(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_ci(b), lower(rtrim(b, ' '))) > (tsql.sort_ci(a), lower(rtrim(a, ' '))) THEN b ELSE a END $$;
CREATE FUNCTION tsql.word_least(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_word(b), tsql.word_tie(b)) < (tsql.sort_word(a), tsql.word_tie(a)) THEN b ELSE a END $$;
CREATE FUNCTION tsql.word_greatest(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
  SELECT CASE WHEN (tsql.sort_word(b), tsql.word_tie(b)) > (tsql.sort_word(a), tsql.word_tie(a)) THEN b ELSE a END $$;
CREATE AGGREGATE tsql.word_min(text) (SFUNC = tsql.word_least, STYPE = text, COMBINEFUNC = tsql.word_least, PARALLEL = SAFE);
CREATE AGGREGATE tsql.word_max(text)
  (SFUNC = tsql.word_greatest, STYPE = text, COMBINEFUNC = tsql.word_greatest, PARALLEL = SAFE);
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
  -- multiplied by 10^-s, not divided by 10^s: PostgreSQL's division keeps about 20 digits only
  RETURN tsql.num_dec(div(a * ('1e' || s)::numeric, b) * ('1e-' || s)::numeric, p, s, 'expression');
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
-- The integer, or Msg 8115 for the operator's type.
CREATE FUNCTION tsql.tiny_result(x int) RETURNS int2 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x NOT BETWEEN 0 AND 255 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type tinyint.', 16, 2);
  END IF;
  RETURN x::int2;
END $$;
-- A double's decimal digits down to 10^-d, refused where they hang on how its binary value is read (beyond 15 or 16 digits,
-- or at a half that the double only comes near to).
CREATE FUNCTION tsql.float_digits(x float8, d int) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  s numeric := tsql.exact(x);
BEGIN
  IF round(s * 1.00000000000000012, d) <> round(s * 0.99999999999999988, d)
     AND NOT (abs(s * 1048576) < 9007199254740992 AND s * 1048576 = trunc(s * 1048576)) THEN
    PERFORM tsql.refuse('converting the float ' || x || ' to ' || d || ' decimal places: its last digit would be a guess');
  END IF;
  RETURN s;
END $$;
-- The argument of ROUND, refused at a half that the double only comes near to.
CREATE FUNCTION tsql.not_near_half(x float8, d int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  s numeric := tsql.exact(x);
BEGIN
  IF d BETWEEN 0 AND 15 AND abs(s * 10::numeric ^ d % 1) = 0.5 AND s * 65536 <> trunc(s * 65536) THEN
    PERFORM tsql.refuse('ROUND of the float ' || x || ' to ' || d || ' places: it is only near to a half');
  END IF;
  RETURN x;
END $$;
-- ROUND on floats rounds the decimal digits that the value shows.
CREATE FUNCTION tsql.round_float(x float8, d int, cut bool) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN cut THEN trunc(x::text::numeric, d) ELSE round(tsql.not_near_half(x, d)::text::numeric, d) END::float8 $$;

-- "LAG (Transact-SQL)": the offset is an integer of 0 or more.
CREATE FUNCTION tsql.lag_offset(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x < 0 THEN
    PERFORM tsql.fail(8730, 'Offset parameter for Lag and Lead functions cannot be a negative value.');
  END IF;
  RETURN x;
END $$;
-- The number of rows that TOP, OFFSET or FETCH name.
CREATE FUNCTION tsql.row_count(x int8, kind text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF x IS NULL THEN
    PERFORM tsql.fail(1060, 'The number of rows provided for a TOP or FETCH clauses row count parameter must be an integer.', 15);
  ELSIF x < 0 AND kind = 'offset' THEN
    PERFORM tsql.fail(10742, 'The offset specified in a OFFSET clause may not be negative.', 15);
  ELSIF x < 1 AND kind = 'fetch' THEN
    PERFORM tsql.fail(10744, 'The number of rows provided for a FETCH clause must be greater then zero.', 15);
  ELSIF x < 0 THEN
    PERFORM tsql.fail(127, 'A TOP N or FETCH rowcount value may not be negative.', 15);
  END IF;
  RETURN x;
END $$;
-- Recursion: the level of the next row, or Msg 530.
CREATE FUNCTION tsql.next_level(level int, most int) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF most > 0 AND level >= most THEN
    PERFORM tsql.fail(530, 'The statement terminated. The maximum recursion ' || most
                      || ' has been exhausted before statement completion.');
  END IF;
  RETURN level + 1;
END $$;
