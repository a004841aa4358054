-- Dates and times. Ticks are 100 ns since 0001-01-01; datetime counts 1/300 s and smalldatetime minutes since 1900-01-01.
CREATE FUNCTION tsql.date_ticks(d date) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (d - DATE '0001-01-01')::int8 * 864000000000 $$;
CREATE FUNCTION tsql.ticks_date(t int8) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT DATE '0001-01-01' + (t / 864000000000)::int $$;
CREATE FUNCTION tsql.datetime_ticks(x int8) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ((x + 17977982400000) / 25920000) * 864000000000 + (((x + 17977982400000) % 25920000) * 200000 + 3) / 6 $$;
CREATE FUNCTION tsql.small_ticks(x int8) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT 599266080000000000 + x * 600000000 $$;
CREATE FUNCTION tsql.dto_local(x tsql.dto) RETURNS int8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (x).utc + (x).off::int8 * 600000000 $$;
CREATE FUNCTION tsql.make_dto(local int8, off int) RETURNS tsql.dto LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF off NOT BETWEEN -840 AND 840 THEN
    PERFORM tsql.fail(9812, 'The timezone provided to builtin function todatetimeoffset is invalid.');
  END IF;
  IF local - off::int8 * 600000000 NOT BETWEEN 0 AND 3155378975999999999 OR local NOT BETWEEN 0 AND 3155378975999999999 THEN
    PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
  END IF;
  RETURN ROW(local - off::int8 * 600000000, off)::tsql.dto;
END $$;
CREATE FUNCTION tsql.ticks_datetime(t int8, source text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r int8 := (t / 864000000000) * 25920000 + ((t % 864000000000) * 3 + 50000) / 100000 - 17977982400000;
BEGIN
  IF t < 552877920000000000 OR r > 76683386879999 THEN
    PERFORM tsql.fail(242, 'The conversion of a ' || source
      || ' data type to a datetime data type resulted in an out-of-range value.', 16, 3);
  END IF;
  RETURN r;
END $$;
CREATE FUNCTION tsql.ticks_small(t int8, source text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  -- 29.999 seconds round up, 29.998 down: the value is a datetime first ("smalldatetime (Transact-SQL)").
  r int8 := (t - 599266080000000000 + 300016667) / 600000000;
BEGIN
  IF t < 599266080000000000 OR r > 94371839 THEN
    PERFORM tsql.fail(242, 'The conversion of a ' || source
      || ' data type to a smalldatetime data type resulted in an out-of-range value.', 16, 3);
  END IF;
  RETURN r;
END $$;
-- A number's ticks as datetime or smalldatetime will hold them.
CREATE FUNCTION tsql.number_ticks(x numeric, target text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF target = 'datetime' AND x NOT BETWEEN 552877920000000000 AND 3155378975999983333
     OR target = 'smalldatetime' AND x NOT BETWEEN 599266080000000000 AND 655889183400000000 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type ' || target || '.', 16, 2);
  END IF;
  RETURN round(x, 0)::int8;
END $$;
-- Round to `scale` digits of a second, halves up.
CREATE FUNCTION tsql.fit_ticks(t int8, scale int, most int8) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  unit int8 := (10 ^ (7 - scale))::int8;
  r int8 := ((t + unit / 2) / unit) * unit;
BEGIN
  IF r > most THEN
    PERFORM tsql.refuse('rounding a time past its last value');
  END IF;
  RETURN r;
END $$;

CREATE TYPE tsql.moment AS (day date, ticks int8, off int);
CREATE FUNCTION tsql.month_number(x text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT nullif(strpos('janfebmaraprmayjunjulaugsepoctnovdec', lower(left(x, 3))) / 3 + 1, 0)
  WHERE lower(x) IN ('jan','feb','mar','apr','may','jun','jul','aug','sep','oct','nov','dec','january','february','march',
    'april','june','july','august','september','october','november','december') $$;
CREATE FUNCTION tsql.two_digit(y int, digits int) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN digits > 2 THEN y WHEN y < 50 THEN 2000 + y ELSE 1900 + y END $$;

-- `kind` is the target type. Raises 241 (not a date) or 242 (datetime, smalldatetime: a date that can't be).
CREATE FUNCTION tsql.parse_moment(x text, kind text, style int, dateformat text) RETURNS tsql.moment
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  s text := btrim(x, ' ');
  m text[];
  y int; mo int; d int;
  a int; b int; c int;
  clock text := '';
  ticks int8 := 0;
  off int := 0;
  hour int; minute int;
  old bool := kind IN ('datetime', 'smalldatetime');
  form text := dateformat;
BEGIN
  IF s = '' THEN RETURN ROW(DATE '1900-01-01', 0, 0)::tsql.moment; END IF;
  form := CASE style WHEN 0 THEN dateformat WHEN 1 THEN 'mdy' WHEN 101 THEN 'mdy' WHEN 110 THEN 'mdy' WHEN 10 THEN 'mdy'
    WHEN 103 THEN 'dmy' WHEN 104 THEN 'dmy' WHEN 105 THEN 'dmy' WHEN 3 THEN 'dmy' WHEN 4 THEN 'dmy' WHEN 5 THEN 'dmy'
    WHEN 113 THEN 'dmy' WHEN 13 THEN 'dmy' WHEN 106 THEN 'dmy' WHEN 6 THEN 'dmy'
    WHEN 102 THEN 'ymd' WHEN 111 THEN 'ymd' WHEN 120 THEN 'ymd' WHEN 121 THEN 'ymd' WHEN 20 THEN 'ymd' WHEN 21 THEN 'ymd'
    WHEN 2 THEN 'ymd' WHEN 11 THEN 'ymd' WHEN 112 THEN 'ymd' WHEN 12 THEN 'ymd' WHEN 126 THEN 'ymd' WHEN 127 THEN 'ymd'
    WHEN 23 THEN 'ymd' ELSE 'mdy' END;
  IF s ~* '^\d{4}-\d{2}-\d{2}T\d' THEN                                            -- ISO 8601: no setting changes it
    m := regexp_match(s, '^(\d{4})-(\d{2})-(\d{2})[Tt](.*)$');
    y := m[1]; mo := m[2]; d := m[3]; clock := m[4];
    IF old AND clock !~ '^\d{2}:\d{2}:\d{2}' THEN                                -- "datetime": every element is needed
      PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
  ELSIF s ~ '^\d{8}( |$)' THEN
    y := left(s, 4); mo := substr(s, 5, 2); d := substr(s, 7, 2); clock := substr(s, 10);
  ELSIF s ~ '^\d{6}( |$)' THEN
    y := tsql.two_digit(left(s, 2)::int, 2); mo := substr(s, 3, 2); d := substr(s, 5, 2); clock := substr(s, 8);
  ELSIF s ~ '^\d{4}$' THEN
    y := s; mo := 1; d := 1;
  ELSIF s ~ '^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}( |$)' THEN
    m := regexp_match(s, '^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(.*)$');
    y := m[1]; clock := btrim(m[4]);
    IF old AND form IN ('dmy', 'ydm') THEN d := m[2]; mo := m[3]; ELSE mo := m[2]; d := m[3]; END IF;
  ELSIF s ~ '^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( |$)' THEN
    m := regexp_match(s, '^(\d{1,2})[-/.](\d{1,2})[-/.](\d{2}|\d{4})(?: (.*))?$');
    IF m IS NULL THEN
      PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
    a := m[1]; b := m[2]; c := m[3]; clock := coalesce(m[4], '');
    IF form = 'mdy' THEN mo := a; d := b; y := tsql.two_digit(c, char_length(m[3]));
    ELSIF form = 'dmy' THEN d := a; mo := b; y := tsql.two_digit(c, char_length(m[3]));
    ELSIF form = 'ymd' AND char_length(m[3]) = 2 THEN y := tsql.two_digit(a, 2); mo := b; d := c;
    ELSE PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
  ELSIF s ~* '^[a-z]{3,9} +\d{1,2},? +\d{4}( |$)' THEN
    m := regexp_match(s, '^([A-Za-z]+) +(\d{1,2}),? +(\d{4})(.*)$');
    mo := tsql.month_number(m[1]); d := m[2]; y := m[3]; clock := btrim(m[4]);
  ELSIF s ~* '^\d{1,2}[ -]+[a-z]{3,9}[ ,-]+(\d{4}|\d{2})( |$)' THEN
    m := regexp_match(s, '^(\d{1,2})[ -]+([A-Za-z]+)[ ,-]+(\d{4}|\d{2})(.*)$');
    d := m[1]; mo := tsql.month_number(m[2]); y := tsql.two_digit(m[3]::int, char_length(m[3])); clock := btrim(m[4]);
  ELSIF s ~ '^\d{1,2}(:| *[AaPp][Mm])' THEN
    y := 1900; mo := 1; d := 1; clock := s;
  ELSE
    PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
  END IF;
  IF mo IS NULL THEN
    PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
  END IF;
  IF y < 1 OR mo NOT BETWEEN 1 AND 12 OR d < 1 OR d > extract(day FROM make_date(y, greatest(least(mo, 12), 1), 1) + INTERVAL '1 month - 1 day') THEN
    IF old THEN
      PERFORM tsql.fail(242, 'The conversion of a varchar data type to a ' || kind || ' data type resulted in an out-of-range value.', 16, 3);
    END IF;
    PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
  END IF;
  IF clock <> '' THEN
    m := regexp_match(clock, '^(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:[.:](\d{1,9}))?)?)? *([AaPp][Mm])?(?: *([+-]\d{1,2}:\d{2})|([Zz]))?$');
    IF m IS NULL OR (m[2] IS NULL AND m[5] IS NULL) OR (old AND (char_length(m[4]) > 3 OR m[6] IS NOT NULL))
       OR char_length(m[4]) > 7 THEN
      PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
    hour := m[1]; minute := coalesce(m[2], '0');
    IF m[5] IS NOT NULL THEN
      IF hour > 12 THEN
        NULL;
      ELSIF upper(m[5]) = 'PM' AND hour < 12 THEN hour := hour + 12;
      ELSIF upper(m[5]) = 'AM' AND hour = 12 THEN hour := 0;
      END IF;
    END IF;
    IF hour > 23 OR minute > 59 OR coalesce(m[3], '0')::int > 59 THEN
      IF old THEN
        PERFORM tsql.fail(242, 'The conversion of a varchar data type to a ' || kind || ' data type resulted in an out-of-range value.', 16, 3);
      END IF;
      PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
    END IF;
    ticks := (hour * 3600 + minute * 60 + coalesce(m[3], '0')::int)::int8 * 10000000 + rpad(coalesce(m[4], '0'), 7, '0')::int8;
    IF m[6] IS NOT NULL THEN
      off := split_part(substr(m[6], 2), ':', 1)::int * 60 + split_part(m[6], ':', 2)::int;
      IF off > 840 THEN
        PERFORM tsql.fail(241, 'Conversion failed when converting date and/or time from character string.');
      END IF;
      IF left(m[6], 1) = '-' THEN off := -off; END IF;
    END IF;
  END IF;
  RETURN ROW(make_date(y, mo, d), ticks, off)::tsql.moment;
END $$;

CREATE FUNCTION tsql.str_date(x text, style int, form text) RETURNS date LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (tsql.parse_moment(x, 'date', style, form)).day $$;
CREATE FUNCTION tsql.str_ticks(x text, kind text, style int, form text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  m tsql.moment := tsql.parse_moment(x, kind, style, form);
BEGIN
  IF kind = 'time' THEN RETURN m.ticks; END IF;
  RETURN tsql.date_ticks(m.day) + m.ticks;
END $$;
CREATE FUNCTION tsql.str_dto(x text, style int, form text) RETURNS tsql.dto LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  m tsql.moment := tsql.parse_moment(x, 'datetimeoffset', style, form);
BEGIN
  RETURN tsql.make_dto(tsql.date_ticks(m.day) + m.ticks, m.off);
END $$;

-- Ticks to text. `scale` is the digits of a second, `kind` the source type.
CREATE FUNCTION tsql.fraction(t int8, scale int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN scale = 0 THEN '' ELSE '.' || left(lpad((t % 10000000)::text, 7, '0'), scale) END $$;
CREATE FUNCTION tsql.clock_text(t int8, scale int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT lpad((t / 36000000000 % 24)::text, 2, '0') || ':' || lpad((t / 600000000 % 60)::text, 2, '0') || ':'
    || lpad((t / 10000000 % 60)::text, 2, '0') || tsql.fraction(t, scale) $$;
CREATE FUNCTION tsql.clock_12(t int8, pad text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT lpad(((t / 36000000000 + 11) % 12 + 1)::text, 2, pad) || ':' || lpad((t / 600000000 % 60)::text, 2, '0') $$;
CREATE FUNCTION tsql.offset_text(off int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN off < 0 THEN '-' ELSE '+' END || lpad((abs(off) / 60)::text, 2, '0') || ':' || lpad((abs(off) % 60)::text, 2, '0') $$;
CREATE FUNCTION tsql.moment_text(t int8, scale int, kind text, style int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  d date := CASE WHEN kind = 'time' THEN NULL ELSE tsql.ticks_date(t) END;
  c int8 := t % 864000000000;
  half text := CASE WHEN c < 432000000000 THEN 'AM' ELSE 'PM' END;
  mon text := to_char(d, 'Mon');
  dd text := to_char(d, 'FMDD');
  digits int := CASE WHEN kind IN ('datetime', 'smalldatetime') THEN 3 ELSE scale END;
  ms text := CASE WHEN kind = 'datetime' THEN lpad(((c % 10000000 * 3 + 50000) / 100000 * 10 / 3.0)::numeric(10,0)::text, 3, '0')
                  ELSE rpad(left(lpad((c % 10000000)::text, 7, '0'), 3), 3, '0') END;
  fr text;
BEGIN
  fr := CASE WHEN kind = 'datetime' THEN '.' || ms WHEN digits = 0 THEN '' ELSE tsql.fraction(c, digits) END;
  IF kind = 'datetime' AND style IN (126, 127) AND ms = '000' THEN fr := ''; END IF;
  IF kind = 'smalldatetime' AND style IN (126, 127) THEN fr := ''; END IF;
  IF kind IN ('date', 'time') AND (kind = 'time' AND style IN (1,2,3,4,5,6,7,10,11,12,23,101,102,103,104,105,106,107,110,111,112)
      OR kind = 'date' AND style IN (8, 14, 24, 108, 114)) THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type ' || kind || '.');
  END IF;
  RETURN CASE
    WHEN style IN (0, 100) AND kind = 'time' THEN ltrim(tsql.clock_12(c, ' ')) || half
    WHEN style IN (0, 100) AND kind = 'date' THEN mon || ' ' || lpad(dd, 2, ' ') || ' ' || to_char(d, 'YYYY')
    WHEN style IN (0, 100) THEN mon || ' ' || lpad(dd, 2, ' ') || ' ' || to_char(d, 'YYYY') || ' ' || tsql.clock_12(c, ' ') || half
    WHEN style = 101 THEN to_char(d, 'MM/DD/YYYY') WHEN style = 1 THEN to_char(d, 'MM/DD/YY')
    WHEN style = 102 THEN to_char(d, 'YYYY.MM.DD') WHEN style = 2 THEN to_char(d, 'YY.MM.DD')
    WHEN style = 103 THEN to_char(d, 'DD/MM/YYYY') WHEN style = 3 THEN to_char(d, 'DD/MM/YY')
    WHEN style = 104 THEN to_char(d, 'DD.MM.YYYY') WHEN style = 4 THEN to_char(d, 'DD.MM.YY')
    WHEN style = 105 THEN to_char(d, 'DD-MM-YYYY') WHEN style = 5 THEN to_char(d, 'DD-MM-YY')
    WHEN style = 106 THEN to_char(d, 'DD ') || mon || to_char(d, ' YYYY') WHEN style = 6 THEN to_char(d, 'DD ') || mon || to_char(d, ' YY')
    WHEN style = 107 THEN mon || to_char(d, ' DD, YYYY') WHEN style = 7 THEN mon || to_char(d, ' DD, YY')
    WHEN style IN (8, 24, 108) THEN tsql.clock_text(c, 0)
    WHEN style = 110 THEN to_char(d, 'MM-DD-YYYY') WHEN style = 10 THEN to_char(d, 'MM-DD-YY')
    WHEN style = 111 THEN to_char(d, 'YYYY/MM/DD') WHEN style = 11 THEN to_char(d, 'YY/MM/DD')
    WHEN style = 112 THEN to_char(d, 'YYYYMMDD') WHEN style = 12 THEN to_char(d, 'YYMMDD')
    WHEN style = 23 OR kind = 'date' AND style IN (20, 21, 25, 120, 121, 126, 127) THEN to_char(d, 'YYYY-MM-DD')
    WHEN kind = 'time' AND style IN (20, 120, 14, 114, 13, 113, 9, 109) AND style NOT IN (20, 120) THEN tsql.refuse('CONVERT of time with style ' || style)
    WHEN kind = 'time' AND style IN (20, 120) THEN tsql.clock_text(c, 0)
    WHEN kind = 'time' AND style IN (21, 25, 121, 126, 127) THEN tsql.clock_text(c, scale)
    WHEN style IN (20, 120) THEN to_char(d, 'YYYY-MM-DD ') || tsql.clock_text(c, 0)
    WHEN style IN (21, 25, 121) THEN to_char(d, 'YYYY-MM-DD ') || tsql.clock_text(c, 0) || fr
    WHEN style IN (126, 127) THEN to_char(d, 'YYYY-MM-DD"T"') || tsql.clock_text(c, 0) || fr
    WHEN style IN (13, 113) AND kind = 'datetime' THEN to_char(d, 'DD ') || mon || to_char(d, ' YYYY ') || tsql.clock_text(c, 0) || ':' || ms
    WHEN style IN (14, 114) AND kind = 'datetime' THEN tsql.clock_text(c, 0) || ':' || ms
    WHEN style IN (9, 109) AND kind = 'datetime' THEN mon || ' ' || lpad(dd, 2, ' ') || ' ' || to_char(d, 'YYYY') || ' ' || tsql.clock_12(c, ' ')
      || ':' || lpad((c / 10000000 % 60)::text, 2, '0') || ':' || ms || half
    ELSE tsql.refuse('CONVERT of ' || kind || ' with style ' || style) END;
END $$;

-- Parts, arithmetic --------------------------------------------------------------------------------------------------
CREATE FUNCTION tsql.part(t int8, part text, datefirst int) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  d date := tsql.ticks_date(t);
  c int8 := t % 864000000000;
  first int;
BEGIN
  RETURN CASE part
    WHEN 'year' THEN extract(year FROM d)
    WHEN 'quarter' THEN extract(quarter FROM d)
    WHEN 'month' THEN extract(month FROM d)
    WHEN 'dayofyear' THEN extract(doy FROM d)
    WHEN 'day' THEN extract(day FROM d)
    WHEN 'iso_week' THEN extract(week FROM d)
    WHEN 'weekday' THEN (extract(isodow FROM d)::int - datefirst + 7) % 7 + 1
    WHEN 'week' THEN (extract(doy FROM d)::int - 1
      + (extract(isodow FROM date_trunc('year', d::timestamp))::int - datefirst + 7) % 7) / 7 + 1
    WHEN 'hour' THEN c / 36000000000
    WHEN 'minute' THEN c / 600000000 % 60
    WHEN 'second' THEN c / 10000000 % 60
    WHEN 'millisecond' THEN c % 10000000 / 10000
    WHEN 'microsecond' THEN c % 10000000 / 10
    WHEN 'nanosecond' THEN c % 10000000 * 100
  END;
END $$;
CREATE FUNCTION tsql.add_months(t int8, n int8) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  d date := tsql.ticks_date(t);
  months int8 := extract(year FROM d)::int8 * 12 + extract(month FROM d)::int8 - 1 + n;
  last int;
BEGIN
  IF months < 12 OR months >= 120000 THEN
    RETURN -1;
  END IF;
  last := extract(day FROM make_date((months / 12)::int, (months % 12)::int + 1, 1) + INTERVAL '1 month - 1 day');
  RETURN tsql.date_ticks(make_date((months / 12)::int, (months % 12)::int + 1, least(extract(day FROM d)::int, last)))
    + t % 864000000000;
END $$;
CREATE FUNCTION tsql.date_add(t int8, part text, n int8, kind text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r numeric;
BEGIN
  r := CASE part
    WHEN 'year' THEN tsql.add_months(t, n * 12) WHEN 'quarter' THEN tsql.add_months(t, n * 3) WHEN 'month' THEN tsql.add_months(t, n)
    ELSE t::numeric + n::numeric * CASE part WHEN 'week' THEN 6048000000000 WHEN 'hour' THEN 36000000000
      WHEN 'minute' THEN 600000000 WHEN 'second' THEN 10000000 WHEN 'millisecond' THEN 10000 WHEN 'microsecond' THEN 10
      WHEN 'nanosecond' THEN 0 ELSE 864000000000 END
      + CASE part WHEN 'nanosecond' THEN round(n / 100.0) ELSE 0 END END;
  IF kind = 'time' THEN
    r := r - 599266080000000000;
    RETURN mod(mod(r, 864000000000) + 864000000000, 864000000000) + 599266080000000000;
  END IF;
  IF r < 0 OR r > 3155378975999999999 OR kind = 'datetime' AND r < 552877920000000000
     OR kind = 'smalldatetime' AND (r < 599266080000000000 OR r > 655889183400000000) THEN
    PERFORM tsql.fail(517, 'Adding a value to a ''' || kind || ''' column caused an overflow.');
  END IF;
  RETURN r;
END $$;
CREATE FUNCTION tsql.date_diff(part text, a int8, b int8) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE part
    WHEN 'year' THEN (extract(year FROM tsql.ticks_date(b)) - extract(year FROM tsql.ticks_date(a)))::int8
    WHEN 'quarter' THEN ((extract(year FROM tsql.ticks_date(b)) - extract(year FROM tsql.ticks_date(a))) * 4
      + extract(quarter FROM tsql.ticks_date(b)) - extract(quarter FROM tsql.ticks_date(a)))::int8
    WHEN 'month' THEN ((extract(year FROM tsql.ticks_date(b)) - extract(year FROM tsql.ticks_date(a))) * 12
      + extract(month FROM tsql.ticks_date(b)) - extract(month FROM tsql.ticks_date(a)))::int8
    WHEN 'week' THEN (b / 864000000000 + 1) / 7 - (a / 864000000000 + 1) / 7
    WHEN 'day' THEN b / 864000000000 - a / 864000000000
    WHEN 'dayofyear' THEN b / 864000000000 - a / 864000000000
    WHEN 'hour' THEN b / 36000000000 - a / 36000000000
    WHEN 'minute' THEN b / 600000000 - a / 600000000
    WHEN 'second' THEN b / 10000000 - a / 10000000
    WHEN 'millisecond' THEN b / 10000 - a / 10000
    WHEN 'microsecond' THEN b / 10 - a / 10
    WHEN 'nanosecond' THEN tsql.to_big((b - a)::numeric * 100) END $$;
CREATE FUNCTION tsql.diff_int(x int8) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x NOT BETWEEN -2147483648 AND 2147483647 THEN
    PERFORM tsql.fail(535, 'The datediff function resulted in an overflow. The number of dateparts separating two date/time instances is too large. Try to use datediff with a less precise datepart.', 16, 0);
  END IF;
  RETURN x::int;
END $$;
CREATE FUNCTION tsql.truncate_to(t int8, part text, datefirst int) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE part
    WHEN 'year' THEN tsql.date_ticks(date_trunc('year', tsql.ticks_date(t)::timestamp)::date)
    WHEN 'quarter' THEN tsql.date_ticks(date_trunc('quarter', tsql.ticks_date(t)::timestamp)::date)
    WHEN 'month' THEN tsql.date_ticks(date_trunc('month', tsql.ticks_date(t)::timestamp)::date)
    WHEN 'week' THEN (t / 864000000000 - (t / 864000000000 - (datefirst - 1) + 7) % 7) * 864000000000
    WHEN 'iso_week' THEN (t / 864000000000 - t / 864000000000 % 7) * 864000000000
    WHEN 'hour' THEN t - t % 36000000000 WHEN 'minute' THEN t - t % 600000000 WHEN 'second' THEN t - t % 10000000
    WHEN 'millisecond' THEN t - t % 10000 WHEN 'microsecond' THEN t - t % 10
    ELSE t - t % 864000000000 END $$;
CREATE FUNCTION tsql.date_of(y int8, m int8, d int8) RETURNS date LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF y NOT BETWEEN 1 AND 9999 OR m NOT BETWEEN 1 AND 12 OR d < 1
     OR d > extract(day FROM make_date(y::int, m::int, 1) + INTERVAL '1 month - 1 day') THEN
    PERFORM tsql.fail(289, 'Cannot construct data type date, some of the arguments have values which are not valid.');
  END IF;
  RETURN make_date(y::int, m::int, d::int);
END $$;
CREATE FUNCTION tsql.clock_of(h int8, m int8, s int8, f int8, digits int, kind text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF h NOT BETWEEN 0 AND 23 OR m NOT BETWEEN 0 AND 59 OR s NOT BETWEEN 0 AND 59 OR f < 0 OR f >= 10 ^ digits THEN
    PERFORM tsql.fail(289, 'Cannot construct data type ' || kind || ', some of the arguments have values which are not valid.');
  END IF;
  RETURN (h * 3600 + m * 60 + s) * 10000000 + f * (10 ^ (7 - digits))::int8;
END $$;
CREATE FUNCTION tsql.eomonth(d date, n int8) RETURNS date LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  t int8 := tsql.add_months(tsql.date_ticks(date_trunc('month', d::timestamp)::date), n);
BEGIN
  IF t < 0 THEN
    PERFORM tsql.fail(517, 'Adding a value to a ''date'' column caused an overflow.');
  END IF;
  RETURN (date_trunc('month', tsql.ticks_date(t)::timestamp) + INTERVAL '1 month - 1 day')::date;
END $$;
CREATE FUNCTION tsql.check_datetime(x int8) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF x NOT BETWEEN -1391644800000 AND 76683386879999 THEN
    PERFORM tsql.fail(8115, 'Arithmetic overflow error converting expression to data type datetime.', 16, 2);
  END IF;
  RETURN x;
END $$;
-- AT TIME ZONE. Local times in a spring gap move forward by its length, those in an autumn overlap take standard time's
-- offset before the change ("AT TIME ZONE (Transact-SQL)"): PostgreSQL's own rule is the same for gaps.
CREATE FUNCTION tsql.utc_offset(utc int8, zone text) RETURNS int LANGUAGE sql STABLE STRICT AS $$
  SELECT (extract(epoch FROM (at AT TIME ZONE zone) - (at AT TIME ZONE 'UTC')) / 60)::int
  FROM (SELECT TIMESTAMPTZ '0001-01-01 00:00:00+00' + make_interval(secs => utc / 10000000) AS at) s $$;
CREATE FUNCTION tsql.utc_to_zone(utc int8, zone text) RETURNS tsql.dto LANGUAGE sql STABLE STRICT AS $$
  SELECT ROW(utc, tsql.utc_offset(utc, zone))::tsql.dto $$;
CREATE FUNCTION tsql.zone_to_dto(local int8, zone text) RETURNS tsql.dto LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
  a int := tsql.utc_offset(local - 864000000000, zone);
  b int := tsql.utc_offset(local + 864000000000, zone);
BEGIN
  IF a = b AND tsql.utc_offset(local - a::int8 * 600000000, zone) = a THEN
    RETURN tsql.make_dto(local, a);
  END IF;
  IF tsql.utc_offset(local - a::int8 * 600000000, zone) = a AND tsql.utc_offset(local - b::int8 * 600000000, zone) = b THEN
    PERFORM tsql.refuse('AT TIME ZONE for a local time that occurs twice');
  END IF;
  IF tsql.utc_offset(local - a::int8 * 600000000, zone) = a THEN RETURN tsql.make_dto(local, a); END IF;
  IF tsql.utc_offset(local - b::int8 * 600000000, zone) = b THEN RETURN tsql.make_dto(local, b); END IF;
  PERFORM tsql.refuse('AT TIME ZONE for a local time that does not occur');
  RETURN NULL;
END $$;
