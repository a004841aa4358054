-- hierarchyid and points of geometry and geography, by their serialisations: "hierarchyid data type method reference";
-- MS-SSCLRT 2.1 and 2.2. A level of a hierarchyid is one number or several with dots; each number has a prefix that
-- tells its range, its bits between fixed ones, and a last bit: 1 ends the level, 0 says that a dot follows, and then
-- the number is stored one higher, so that /1.1/ sorts between /1/ and /2/.
CREATE TYPE tsql.hid_range AS (first int8, last int8, pattern text);
CREATE FUNCTION tsql.hid_ranges() RETURNS SETOF tsql.hid_range LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  VALUES (0::int8, 3::int8, '01xx'), (4, 7, '100xx'), (8, 15, '101xxx'), (16, 79, '110xx0x1xxx'),
    (80, 1103, '1110xxx0xxx0x1xxx'), (1104, 5199, '11110xxxxx0xxx0x1xxx'),
    (5200, 4294972495, '111110xxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx'),
    (4294972496, 281479271683151, '111111xxxxxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx'),
    (-8, -1, '00111xxx'), (-72, -9, '0010xx0x1xxx'), (-4168, -73, '000110xxxxx0xxx0x1xxx'),
    (-4294971464, -4169, '000101xxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx'),
    (-281479271682120, -4294971465, '000100xxxxxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxxx0xxxxxx0xxx0x1xxx')
$$;
CREATE FUNCTION tsql.hid_fail(what text) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT tsql.fail(6522, 'A .NET Framework error occurred during execution of user-defined routine or aggregate '
    || '"hierarchyid": Microsoft.SqlServer.Types.HierarchyIdException: ' || what)
$$;
CREATE FUNCTION tsql.hid_number(n int8, ends bool) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  r tsql.hid_range;
  bits text;
  out text := '';
  taken int := 0;
  stored int8 := CASE WHEN ends THEN n ELSE n + 1 END;
BEGIN
  SELECT * INTO r FROM tsql.hid_ranges() AS x WHERE stored BETWEEN x.first AND x.last;
  bits := right((stored - r.first)::bit(64)::text, length(r.pattern) - length(replace(r.pattern, 'x', '')));
  FOR i IN 1 .. length(r.pattern) LOOP
    IF substr(r.pattern, i, 1) = 'x' THEN
      taken := taken + 1;
      out := out || substr(bits, taken, 1);
    ELSE
      out := out || substr(r.pattern, i, 1);
    END IF;
  END LOOP;
  RETURN out || CASE WHEN ends THEN '1' ELSE '0' END;
END $$;
CREATE FUNCTION tsql.hid_bytes(x text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  level text;
  numbers text[];
  bits text := '';
  out text := '';
BEGIN
  IF x !~ '^/((-?(0|[1-9][0-9]{0,14}))(\.-?(0|[1-9][0-9]{0,14}))*/)*$' THEN
    PERFORM tsql.hid_fail('24001: SqlHierarchyId.Parse failed because the input string ''' || x
      || ''' is not a valid string representation of a SqlHierarchyId node.');
  END IF;
  FOREACH level IN ARRAY coalesce(string_to_array(btrim(x, '/'), '/'), '{}') LOOP
    numbers := string_to_array(level, '.');
    FOR i IN 1 .. cardinality(numbers) LOOP
      bits := bits || tsql.hid_number(numbers[i]::int8, i = cardinality(numbers));
    END LOOP;
  END LOOP;
  bits := bits || repeat('0', (8 - length(bits) % 8) % 8);
  FOR i IN 0 .. length(bits) / 8 - 1 LOOP
    out := out || lpad(to_hex(substr(bits, i * 8 + 1, 8)::bit(8)::int), 2, '0');
  END LOOP;
  RETURN decode(out, 'hex');
END $$;
CREATE FUNCTION tsql.hid_text(b bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  bits text := '';
  r tsql.hid_range;
  found text;
  number text;
  n int8;
  at int := 1;
  out text := '/';
BEGIN
  FOR i IN 0 .. length(b) - 1 LOOP
    bits := bits || get_byte(b, i)::bit(8)::text;
  END LOOP;
  WHILE substr(bits, at) ~ '1' LOOP
    SELECT x.* INTO r FROM tsql.hid_ranges() AS x
      WHERE substr(bits, at, length(x.pattern) + 1) ~ ('^' || replace(x.pattern, 'x', '[01]') || '[01]$');
    IF r.pattern IS NULL THEN
      PERFORM tsql.hid_fail('24000: SqlHierarchyId.Read failed because the bytes are no hierarchyid.');
    END IF;
    found := substr(bits, at, length(r.pattern));
    number := '';
    FOR i IN 1 .. length(r.pattern) LOOP
      IF substr(r.pattern, i, 1) = 'x' THEN number := number || substr(found, i, 1); END IF;
    END LOOP;
    n := lpad(number, 64, '0')::bit(64)::int8 + r.first;
    IF substr(bits, at + length(r.pattern), 1) = '1' THEN
      out := out || n || '/';
    ELSE
      out := out || (n - 1) || '.';
    END IF;
    at := at + length(r.pattern) + 1;
  END LOOP;
  RETURN out;
END $$;

-- Points. Bytes: SRID (little-endian), version 1, properties (1 Z, 2 M, 4 valid, 8 one point), x, y[, z][, m]; geography
-- has its latitude first. Well-known binary has 1001, 2001 and 3001 for points with Z, M and both.
CREATE FUNCTION tsql.little(b bytea, at int) RETURNS int4 LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT ((get_byte(b, at + 3) << 24) | (get_byte(b, at + 2) << 16) | (get_byte(b, at + 1) << 8) | get_byte(b, at))
$$;
CREATE FUNCTION tsql.little_bytes(n int4) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT substr(x, 4, 1) || substr(x, 3, 1) || substr(x, 2, 1) || substr(x, 1, 1) FROM (SELECT int4send(n) AS x) AS q
$$;
CREATE FUNCTION tsql.reversed(b bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT string_agg(substr(b, i, 1), ''::bytea ORDER BY i DESC) FROM generate_series(1, length(b)) AS i
$$;
CREATE FUNCTION tsql.double_of(b bytea) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int8 := ('x' || encode(tsql.reversed(b), 'hex'))::bit(64)::int8;
  e int := ((n >> 52) & 2047)::int;
  m float8 := (n & 4503599627370495)::float8;
  sign float8 := CASE WHEN n < 0 THEN -1 ELSE 1 END;
BEGIN
  IF e = 0 THEN RETURN sign * m * power(2::float8, -1022) * power(2::float8, -52); END IF;
  RETURN sign * (1 + m / 4503599627370496::float8) * power(2::float8, (e - 1023)::float8);
END $$;
CREATE FUNCTION tsql.point_of(b bytea, kind text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
-- The coordinates of a stored point as well-known binary has them: x, y[, z][, m].
BEGIN
  IF length(b) < 22 OR get_byte(b, 4) <> 1 OR get_byte(b, 5) & 12 <> 12 THEN
    PERFORM tsql.refuse('methods of a ' || kind || ' that is no point');
  END IF;
  IF kind = 'geography' THEN RETURN substr(b, 15, 8) || substr(b, 7, 8) || substr(b, 23); END IF;
  RETURN substr(b, 7);
END $$;
CREATE FUNCTION tsql.geo_wkb(b bytea, kind text, zm bool) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT '\x01'::bytea || tsql.little_bytes(1 + CASE WHEN zm THEN 1000 * (get_byte(b, 5) & 3) ELSE 0 END)
    || CASE WHEN zm THEN p ELSE substr(p, 1, 16) END FROM (SELECT tsql.point_of(b, kind) AS p) AS q
$$;
CREATE FUNCTION tsql.geo_text(b bytea, kind text, zm bool) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT 'POINT (' || tsql.double_of(substr(p, 1, 8)) || ' ' || tsql.double_of(substr(p, 9, 8))
    || CASE WHEN zm AND props & 1 = 1 THEN ' ' || tsql.double_of(substr(p, 17, 8)) WHEN zm AND props & 2 = 2 THEN ' NULL' ELSE '' END
    || CASE WHEN zm AND props & 2 = 2 THEN ' ' || tsql.double_of(substr(p, 17 + 8 * (props & 1), 8)) ELSE '' END || ')'
  FROM (SELECT tsql.point_of(b, kind) AS p, get_byte(b, 5) AS props) AS q
$$;
CREATE FUNCTION tsql.geo_of_wkb(w bytea, srid int4, kind text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  shape int;
  props int;
  p bytea;
BEGIN
  IF length(w) < 21 OR get_byte(w, 0) <> 1 THEN PERFORM tsql.refuse('well-known binary other than of little-endian points'); END IF;
  shape := tsql.little(w, 1);
  IF shape NOT IN (1, 1001, 2001, 3001) THEN PERFORM tsql.refuse('well-known binary other than of points'); END IF;
  props := shape / 1000;
  p := substr(w, 6);
  IF length(p) <> 16 + 8 * ((props & 1) + (props >> 1)) THEN
    PERFORM tsql.fail(6522, 'A .NET Framework error occurred during execution of user-defined routine or aggregate "'
      || kind || '": System.FormatException: 24210: The well-known binary (WKB) input is not valid.');
  END IF;
  IF kind = 'geography' THEN p := substr(p, 9, 8) || substr(p, 1, 8) || substr(p, 17); END IF;
  RETURN tsql.little_bytes(srid) || '\x01'::bytea || decode(lpad(to_hex(12 + props), 2, '0'), 'hex') || p;
END $$;
CREATE FUNCTION tsql.geo_of_text(x text, srid int4, kind text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  parts text[] := regexp_match(x, '^\s*POINT\s*\(\s*(\S+)\s+(\S+?)(?:\s+(\S+?))?(?:\s+(\S+?))?\s*\)\s*$', 'i');
  props int := 0;
  w bytea;
BEGIN
  IF parts IS NULL THEN PERFORM tsql.refuse(kind || ' other than POINT (x y [z [m]])'); END IF;
  w := tsql.reversed(float8send(parts[1]::float8)) || tsql.reversed(float8send(parts[2]::float8));
  IF parts[3] IS NOT NULL AND upper(parts[3]) <> 'NULL' THEN
    props := 1;
    w := w || tsql.reversed(float8send(parts[3]::float8));
  END IF;
  IF parts[4] IS NOT NULL AND upper(parts[4]) <> 'NULL' THEN
    props := props + 2;
    w := w || tsql.reversed(float8send(parts[4]::float8));
  END IF;
  RETURN tsql.geo_of_wkb('\x01'::bytea || tsql.little_bytes(1 + 1000 * props) || w, srid, kind);
END $$;
CREATE FUNCTION tsql.hid_checked(b bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN tsql.hid_text(b) IS NOT NULL THEN b END
$$;
