-- Strings.
-- No STRICT here: it would keep PostgreSQL from inlining them.
CREATE FUNCTION tsql.supplementary(x text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(x) = char_length(x) THEN 0
              ELSE char_length(regexp_replace(x, U&'[^\+010000-\+10FFFF]', '', 'g')) END $$;
-- Length in UTF-16 units.
CREATE FUNCTION tsql.units(x text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(x) = char_length(x) THEN octet_length(x)
              ELSE char_length(x) + char_length(regexp_replace(x, U&'[^\+010000-\+10FFFF]', '', 'g')) END $$;
-- Positions count UTF-16 units on SQL Server: strings with characters beyond U+FFFF can't be cut here.
CREATE FUNCTION tsql.bmp(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF octet_length(x) <> char_length(x) AND tsql.supplementary(x) > 0 THEN
    PERFORM tsql.refuse('positions in strings with characters beyond U+FFFF');
  END IF;
  RETURN x;
END $$;
-- The first n UTF-16 units; nothing is cut where it fits whole.
CREATE FUNCTION tsql.left_units(x text, n int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN tsql.units(x) <= n THEN x ELSE left(tsql.bmp(x), n) END $$;
CREATE FUNCTION tsql.pad_units(x text, n int) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT rpad(x, n - tsql.supplementary(x)) $$;
-- nvarchar to varchar, as values.to_codepage does it.
CREATE FUNCTION tsql.to_ansi(x text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  c text;
  result text := '';
BEGIN
  IF octet_length(x) = char_length(x) OR x ~ U&'^[\0001-\00FF\20AC\201A\0192\201E\2026\2020\2021\02C6\2030\0160\2039\0152\017D\2018\2019\201C\201D\2022\2013\2014\02DC\2122\0161\203A\0153\017E\0178]*$' THEN
    RETURN x;
  END IF;
  FOREACH c IN ARRAY regexp_split_to_array(x, '') LOOP
    IF c ~ U&'^[\0001-\00FF\20AC\201A\0192\201E\2026\2020\2021\02C6\2030\0160\2039\0152\017D\2018\2019\201C\201D\2022\2013\2014\02DC\2122\0161\203A\0153\017E\0178]$' THEN
      result := result || c;
    ELSIF tsql.has_no_likeness(ascii(c)) THEN
      result := result || CASE WHEN ascii(c) > 65535 THEN '??' ELSE '?' END;
    ELSE
      PERFORM tsql.refuse('converting U+' || lpad(upper(to_hex(ascii(c))), 4, '0') || ' to cp1252 (a best-fit character)');
    END IF;
  END LOOP;
  RETURN result;
END $$;
CREATE FUNCTION tsql.ansi_bytes(x text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT convert_to(x, 'WIN1252') $$;
-- UTF-16LE, character by character: see tsql.utf16_bytes.
CREATE FUNCTION tsql.utf16_units(x text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(string_agg(
    CASE WHEN u < 65536 THEN set_byte(set_byte('\x0000', 0, u & 255), 1, u >> 8)
    ELSE set_byte(set_byte(set_byte(set_byte('\x00000000', 0, ((u - 65536) >> 10) & 255), 1, 216 + ((u - 65536) >> 18)),
                           2, (u - 65536) & 255), 3, 220 + (((u - 65536) >> 8) & 3)) END, '' ORDER BY i), '')
  FROM (SELECT ascii(c) AS u, i FROM unnest(regexp_split_to_array(x, '')) WITH ORDINALITY AS s(c, i) WHERE c <> '') t $$;
CREATE FUNCTION tsql.bytes_utf16(b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  result text := '';
  i int := 0;
  u int;
  v int;
BEGIN
  WHILE i + 1 < length(b) LOOP
    u := get_byte(b, i) + 256 * get_byte(b, i + 1);
    i := i + 2;
    IF u BETWEEN 55296 AND 56319 AND i + 1 < length(b) THEN
      v := get_byte(b, i) + 256 * get_byte(b, i + 1);
      i := i + 2;
      u := 65536 + ((u - 55296) << 10) + (v - 56320);
    END IF;
    IF u = 0 OR u BETWEEN 55296 AND 57343 THEN
      PERFORM tsql.refuse('NUL characters and lone surrogates in strings');
    END IF;
    result := result || chr(u);
  END LOOP;
  RETURN result;
END $$;
CREATE FUNCTION tsql.bytes_ansi(b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF position('\x00'::bytea IN b) > 0 THEN
    PERFORM tsql.refuse('NUL characters in strings');
  END IF;
  RETURN convert_from(b, 'WIN1252');
END $$;

CREATE FUNCTION tsql.substr(x text, start int8, n int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n < 0 THEN
    PERFORM tsql.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3);
  END IF;
  IF start < 1 THEN
    n := n + start - 1;
    start := 1;
  END IF;
  IF n <= 0 THEN
    RETURN '';
  END IF;
  RETURN substr(x, least(start, 2147483647)::int, least(n, 1073741823)::int);
END $$;
CREATE FUNCTION tsql.substr(x bytea, start int8, n int8) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n < 0 THEN
    PERFORM tsql.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3);
  END IF;
  IF start < 1 THEN
    n := n + start - 1;
    start := 1;
  END IF;
  IF n <= 0 THEN
    RETURN ''::bytea;
  END IF;
  RETURN substr(x, least(start, 2147483647)::int, least(n, 1073741823)::int);
END $$;
CREATE FUNCTION tsql.lefts(x text, n int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n < 0 THEN
    PERFORM tsql.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3);
  END IF;
  RETURN left(x, least(n, 1073741823)::int);
END $$;
CREATE FUNCTION tsql.rights(x text, n int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n < 0 THEN
    PERFORM tsql.fail(536, 'Invalid length parameter passed to the right function.', 16, 1);
  END IF;
  RETURN CASE WHEN n = 0 THEN '' ELSE right(x, least(n, 1073741823)::int) END;
END $$;
CREATE FUNCTION tsql.charindex(needle text, hay text, start int8) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN needle = '' THEN 0
              WHEN p = 0 THEN 0 ELSE p + greatest(start, 1)::int - 1 END
  FROM (SELECT strpos(substr(hay, greatest(least(start, 2147483647), 1)::int), needle) AS p) s $$;
CREATE FUNCTION tsql.replace_ci(x text, needle text, other text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  hay text := lower(x);
  low text := lower(needle);
  result text := '';
  at int;
BEGIN
  IF needle = '' THEN
    RETURN x;
  END IF;
  LOOP
    at := strpos(hay, low);
    IF at = 0 THEN
      RETURN result || x;
    END IF;
    result := result || left(x, at - 1) || other;
    x := substr(x, at + char_length(needle));
    hay := substr(hay, at + char_length(needle));
  END LOOP;
END $$;
CREATE FUNCTION tsql.stuff(x text, start int8, n int8, other text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN x IS NULL OR start IS NULL OR n IS NULL OR start < 1 OR n < 0 OR start > char_length(x) THEN NULL
    ELSE left(x, start::int - 1) || coalesce(other, '') || substr(x, least(start + n, 2147483647)::int) END $$;
CREATE FUNCTION tsql.quotename(x text, mark text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN x IS NULL OR char_length(x) > 128 OR mark IS NULL THEN NULL
    WHEN mark IN ('[', ']', '') THEN '[' || replace(x, ']', ']]') || ']'
    WHEN mark IN ('''', '"', '`') THEN mark || replace(x, mark, mark || mark) || mark
    WHEN mark IN ('(', ')') THEN '(' || replace(x, ')', '))') || ')'
    WHEN mark IN ('{', '}') THEN '{' || replace(x, '}', '}}') || '}'
    WHEN mark IN ('<', '>') THEN '<' || replace(x, '>', '>>') || '>' END $$;
CREATE FUNCTION tsql.unicode_of(x text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN x = '' THEN NULL WHEN ascii(x) > 65535 THEN 55296 + ((ascii(x) - 65536) >> 10) ELSE ascii(x) END $$;
CREATE FUNCTION tsql.char_of(n int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n = 0 THEN PERFORM tsql.refuse('CHAR(0): NUL characters in strings'); END IF;
  IF n NOT BETWEEN 1 AND 255 THEN RETURN NULL; END IF;
  IF n IN (129, 141, 143, 144, 157) THEN RETURN chr(n::int); END IF;
  RETURN convert_from(set_byte('\x00'::bytea, 0, n::int), 'WIN1252');
END $$;
CREATE FUNCTION tsql.nchar_of(n int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF n = 0 OR n BETWEEN 55296 AND 57343 THEN PERFORM tsql.refuse('NUL and surrogates in NCHAR'); END IF;
  IF n NOT BETWEEN 1 AND 65535 THEN RETURN NULL; END IF;
  RETURN chr(n::int);
END $$;
-- LIKE with a pattern that is no constant: % and _ only.
CREATE FUNCTION tsql.like_dynamic(x text, pattern text, escape text, ansi bool) RETURNS bool
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF x IS NULL OR pattern IS NULL THEN RETURN NULL; END IF;
  IF strpos(pattern, '[') > 0 THEN
    PERFORM tsql.refuse('LIKE with [...] in a pattern that is not a constant or a variable');
  END IF;
  IF escape IS NULL THEN
    escape := '';
  END IF;
  IF escape <> '' AND right(replace(pattern, escape || escape, ''), 1) = escape THEN
    RETURN false;
  END IF;
  RETURN x LIKE pattern ESCAPE escape OR (ansi AND right(x, 1) = ' ' AND rtrim(x, ' ') LIKE pattern ESCAPE escape);
END $$;
CREATE FUNCTION tsql.str_of(x float8, n int, d int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r text;
BEGIN
  IF n < 1 OR n > 8000 THEN RETURN NULL; END IF;
  d := least(greatest(d, 0), 16);
  r := round(x::text::numeric, d)::text;
  IF char_length(r) > n AND d > 0 THEN
    d := greatest(0, d - (char_length(r) - n));
    r := round(x::text::numeric, d)::text;
  END IF;
  IF char_length(r) > n THEN RETURN repeat('*', n); END IF;
  RETURN lpad(r, n, ' ');
END $$;
CREATE FUNCTION tsql.agg_limit(x text, most int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF octet_length(x) > most AND char_length(x) > most THEN
    PERFORM tsql.fail(9829, 'STRING_AGG aggregation result exceeded the limit of 8000 bytes. Use LOB types to avoid result truncation.');
  END IF;
  RETURN x;
END $$;
