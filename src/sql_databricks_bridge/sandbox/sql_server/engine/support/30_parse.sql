-- Strings to numbers and other types. `source` is the type's name for the message.
CREATE FUNCTION tsql.str_int(x text, target text, source text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := btrim(x, E' \t\r\n');
  n numeric;
BEGIN
  IF t = '' THEN RETURN 0; END IF;
  IF t !~ '^[+-]? *[0-9]+$' THEN
    PERFORM tsql.fail(CASE WHEN target = 'bigint' THEN 8114 ELSE 245 END,
      CASE WHEN target = 'bigint' THEN 'Error converting data type ' || source || ' to bigint.'
      ELSE 'Conversion failed when converting the ' || source || ' value ''' || x || ''' to data type ' || target || '.' END);
  END IF;
  n := replace(t, ' ', '')::numeric;
  IF target = 'int' AND n NOT BETWEEN -2147483648 AND 2147483647 THEN
    PERFORM tsql.fail(248, 'The conversion of the ' || source || ' value ''' || x || ''' overflowed an int column.');
  ELSIF target = 'smallint' AND n NOT BETWEEN -32768 AND 32767 THEN
    PERFORM tsql.fail(244, 'The conversion of the ' || source || ' value ''' || x || ''' overflowed an INT2 column. Use a larger integer column.', 16, 2);
  ELSIF target = 'tinyint' AND n NOT BETWEEN 0 AND 255 THEN
    PERFORM tsql.fail(244, 'The conversion of the ' || source || ' value ''' || x || ''' overflowed an INT1 column. Use a larger integer column.', 16, 1);
  ELSIF target = 'bigint' AND n NOT BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type bigint.', 16, 2);
  END IF;
  RETURN n::int8;
END $$;
CREATE FUNCTION tsql.str_bit(x text, source text) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := lower(btrim(x, ' '));
BEGIN
  IF t = 'true' THEN RETURN true; END IF;
  IF t = 'false' OR t = '' THEN RETURN false; END IF;
  IF t !~ '^[+-]?[0-9]+$' THEN
    PERFORM tsql.fail(245, 'Conversion failed when converting the ' || source || ' value ''' || x || ''' to data type bit.');
  END IF;
  RETURN t::numeric <> 0;
END $$;
CREATE FUNCTION tsql.str_dec(x text, p int, s int, source text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := btrim(x, E' \t\r\n');
BEGIN
  IF t !~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$' THEN
    PERFORM tsql.fail(8114, 'Error converting data type ' || source || ' to numeric.', 16, 5);
  END IF;
  RETURN tsql.num_dec(t::numeric, p, s, source);
END $$;
CREATE FUNCTION tsql.str_float(x text, target text, source text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := btrim(x, E' \t\r\n');
BEGIN
  IF t = '' THEN RETURN 0; END IF;
  IF t !~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]+)?$' THEN
    PERFORM tsql.fail(8114, 'Error converting data type ' || source || ' to ' || target || '.', 16, 5);
  END IF;
  RETURN translate(t, 'dD', 'ee')::float8;
END $$;
CREATE FUNCTION tsql.str_money(x text, target text, source text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := replace(replace(btrim(x, ' '), ',', ''), '$', '');
BEGIN
  IF t = '' THEN RETURN 0; END IF;
  IF t !~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$' THEN
    PERFORM tsql.fail(235, 'Cannot convert a char value to money. The char value has incorrect syntax.', 16, 0);
  END IF;
  RETURN tsql.num_money(t::numeric, target);
END $$;
CREATE FUNCTION tsql.str_guid(x text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := CASE WHEN left(x, 1) = '{' AND substr(x, 38, 1) = '}' THEN substr(x, 2, 36) ELSE left(x, 36) END;
BEGIN
  IF t !~ '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$' THEN
    PERFORM tsql.fail(8169, 'Conversion failed when converting from a character string to uniqueidentifier.', 16, 2);
  END IF;
  RETURN t::uuid;
END $$;
CREATE FUNCTION tsql.str_bin(x text, style int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t text := x;
BEGIN
  IF style = 1 THEN
    IF left(t, 2) NOT IN ('0x', '0X') THEN
      PERFORM tsql.fail(8114, 'Error converting data type varchar to varbinary.', 16, 5);
    END IF;
    t := substr(t, 3);
  END IF;
  IF t !~ '^([0-9A-Fa-f]{2})*$' THEN
    PERFORM tsql.fail(8114, 'Error converting data type varchar to varbinary.', 16, 5);
  END IF;
  RETURN decode(t, 'hex');
END $$;
CREATE FUNCTION tsql.fit_text(x text, n int, source text, target text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF char_length(x) <= n THEN RETURN x; END IF;
  IF source IN ('int', 'smallint', 'tinyint') AND target IN ('varchar', 'char') THEN RETURN '*'; END IF;
  IF source = 'uniqueidentifier' THEN
    PERFORM tsql.fail(8170, 'Insufficient result space to convert uniqueidentifier value to char.', 16, 2);
  END IF;
  IF source = 'money' THEN
    PERFORM tsql.fail(234, 'There is insufficient result space to convert a money value to ' || target || '.', 16, 2);
  END IF;
  PERFORM tsql.fail(8115, 'Arithmetic overflow error converting '
    || CASE WHEN source IN ('numeric', 'decimal') THEN 'numeric' ELSE 'expression' END || ' to data type ' || target || '.', 16, 5);
  RETURN NULL;
END $$;
-- Style 0: six digits at most, an exponent of three digits from 1e+006 on and below 1e-004.
CREATE FUNCTION tsql.float_text(x float8, digits int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n numeric := abs(x::text::numeric);
  e int;
  m text;
BEGIN
  IF x = 0 THEN RETURN '0'; END IF;
  e := floor(log(n))::int;
  n := round(n, digits - 1 - e);
  e := floor(log(n))::int;
  IF e >= digits OR e < -4 THEN
    m := rtrim(rtrim(round(n / 10::numeric ^ e, digits - 1)::text, '0'), '.');
    m := m || 'e' || CASE WHEN e < 0 THEN '-' ELSE '+' END || lpad(abs(e)::text, 3, '0');
  ELSE
    m := trim_scale(n)::text;
  END IF;
  RETURN CASE WHEN x < 0 THEN '-' ELSE '' END || m;
END $$;
CREATE FUNCTION tsql.money_text(x numeric, style int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE style WHEN 0 THEN round(x, 2)::text
    WHEN 1 THEN trim(to_char(round(x, 2), 'FM999,999,999,999,999,990.00'))
    ELSE round(x, 4)::text END $$;
CREATE FUNCTION tsql.int_bytes(x int8, n int) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT substr(int8send(x), 9 - n) $$;
CREATE FUNCTION tsql.bytes_int(b bytea, n int) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r int8 := 0;
  tail bytea := CASE WHEN length(b) > n THEN substr(b, length(b) - n + 1) ELSE b END;
BEGIN
  FOR i IN 0 .. length(tail) - 1 LOOP
    r := (r << 8) | get_byte(tail, i);
  END LOOP;
  IF n = 4 AND r > 2147483647 THEN r := r - 4294967296; END IF;
  IF n = 2 AND r > 32767 THEN r := r - 65536; END IF;
  RETURN r;
END $$;
CREATE FUNCTION tsql.fit_bytes(b bytea, n int, fixed bool) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN length(b) > n THEN substr(b, 1, n)
    WHEN fixed AND length(b) < n THEN b || decode(repeat('00', n - length(b)), 'hex') ELSE b END $$;
-- Assignments: a value that does not fit its column is refused, trailing blanks aside.
CREATE FUNCTION tsql.fit_ansi_column(x text, n int, place text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF char_length(x) <= n THEN RETURN x; END IF;
  IF char_length(rtrim(x, ' ')) > n THEN
    PERFORM tsql.fail(2628, 'String or binary data would be truncated in ' || place || '. Truncated value: ''' || left(x, n) || '''.');
  END IF;
  RETURN left(x, n);
END $$;
CREATE FUNCTION tsql.fit_unicode_column(x text, n int, place text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(x) <= n OR tsql.units(x) <= n THEN RETURN x; END IF;
  IF tsql.units(rtrim(x, ' ')) > n THEN
    PERFORM tsql.fail(2628, 'String or binary data would be truncated in ' || place || '. Truncated value: ''' || left(x, n) || '''.');
  END IF;
  RETURN rpad(rtrim(x, ' '), n - tsql.supplementary(x));
END $$;
CREATE FUNCTION tsql.fit_bytes_column(x bytea, n int, place text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF length(x) <= n THEN RETURN x; END IF;
  IF length(rtrim(x, '\x00'::bytea)) > n THEN
    PERFORM tsql.fail(2628, 'String or binary data would be truncated in ' || place || '. Truncated value: ''''.');
  END IF;
  RETURN substr(x, 1, n);
END $$;
