-- Strings that become xml: checked to be well-formed, and written as SQL Server gives them back ("Create instances of XML
-- data", "xml data type", "CAST and CONVERT": style 0 drops white space between tags). xmltext.py does the same to bulk rows.
-- Numbers of errors are the server's for what is named here; its texts give line and character as these do.
CREATE FUNCTION tsql.xml_fail(number int, what text, document text, at int) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT tsql.fail(number, 'XML parsing: line ' || char_length(b) - char_length(replace(b, E'\n', '')) + 1
    || ', character ' || char_length(regexp_replace(b, E'^.*\n', '')) + 1 || ', ' || what) FROM left(document, at) AS b $$;
-- References to characters taken out of text or an attribute's value.
CREATE FUNCTION tsql.xml_decoded(x text, document text, at int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  parts text[] := string_to_array(x, '&');
  out text := coalesce(parts[1], '');
  name text;
  code numeric;
BEGIN
  FOR i IN 2 .. coalesce(cardinality(parts), 0) LOOP
    name := substring(parts[i] FROM '^(amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});');
    IF name IS NULL THEN PERFORM tsql.xml_fail(9448, 'well formed check: undeclared entity', document, at); END IF;
    IF left(name, 1) = '#' THEN
      code := CASE WHEN left(name, 2) = '#x' THEN ('x' || lpad(substr(name, 3), 8, '0'))::bit(32)::int
                   ELSE substr(name, 2)::numeric END;
      IF code < 32 AND code NOT IN (9, 10, 13) OR code BETWEEN 55296 AND 57343 OR code IN (65534, 65535) OR code > 1114111 THEN
        PERFORM tsql.xml_fail(9420, 'illegal xml character', document, at);
      END IF;
      out := out || chr(code::int);
    ELSE
      out := out || CASE name WHEN 'amp' THEN '&' WHEN 'lt' THEN '<' WHEN 'gt' THEN '>' WHEN 'quot' THEN '"' ELSE '''' END;
    END IF;
    out := out || substr(parts[i], char_length(name) + 2);
  END LOOP;
  RETURN out;
END $$;
CREATE FUNCTION tsql.xml_escaped(x text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT replace(replace(replace(replace(x, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), E'\r', '&#x0D;') $$;
-- The attributes of a tag in order, as they are written again; `scope` holds the prefixes that are declared.
CREATE FUNCTION tsql.xml_attributes(tag text, scope text[], document text, at int, OUT written text, OUT declared text[])
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  pair text[];
  names text[] := '{}';
BEGIN
  written := '';
  declared := scope;
  FOR pair IN SELECT regexp_matches(tag, '[ \t\r\n]([^ \t\r\n=<>"'']+)[ \t\r\n]*=[ \t\r\n]*("[^"]*"|''[^'']*'')', 'g') LOOP
    IF pair[1] = ANY (names) THEN PERFORM tsql.xml_fail(9437, 'duplicate attribute', document, at); END IF;
    IF pair[1] ~ '^xmlns(:|$)' THEN
      IF EXISTS (SELECT 1 FROM unnest(names) n WHERE n !~ '^xmlns(:|$)') THEN
        PERFORM tsql.refuse('xml with a namespace declared after other attributes');
      END IF;
      declared := declared || substr(pair[1], 7);
    END IF;
    IF pair[1] = 'xml:space' THEN PERFORM tsql.refuse('xml with xml:space'); END IF;
    names := names || pair[1];
    written := written || ' ' || pair[1] || '="' || replace(replace(replace(tsql.xml_escaped(tsql.xml_decoded(
      translate(substr(pair[2], 2, char_length(pair[2]) - 2), E'\t\n\r', '   '), document, at)),
      '"', '&quot;'), E'\t', '&#x09;'), E'\n', '&#x0A;') || '"';
  END LOOP;
  IF EXISTS (SELECT 1 FROM unnest(names) n WHERE n !~ '^xml(ns)?:' AND n ~ ':' AND split_part(n, ':', 1) <> ALL (declared)) THEN
    PERFORM tsql.xml_fail(9459, 'undeclared prefix', document, at);
  END IF;
END $$;
CREATE FUNCTION tsql.xml_text(source text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  name constant text := '[[:alpha:]_][[:alnum:]_.-]*(?::[[:alpha:]_][[:alnum:]_.-]*)?';
  blank constant text := '[ \t\r\n]';
  pattern constant text := '<!--(?:[^-]|-[^-])*-->|<!\[CDATA\[(?:[^]]|\][^]]|\]\]+[^]>])*\]\]+>|<\?(?:[^?]|\?+[^?>])*\?+>'
    || '|</' || name || blank || '*>|<' || name
    || '(?:' || blank || '+' || name || blank || '*=' || blank || '*(?:"[^<"]*"|''[^<'']*''))*' || blank || '*/?>|[^<]+|<';
  x text := replace(replace(ltrim(source, U&'\FEFF'), E'\r\n', E'\n'), E'\r', E'\n');
  opened text[] := '{}';  -- elements that are open
  prefixes text[] := '{}';  -- prefixes that are declared, and how many were before each open element
  sizes int[] := '{}';
  hanging bool := false;  -- whether the last tag still lacks its '>'
  chars text := '';  -- text since the last tag
  odd bool := false;  -- whether blanks in it were written as references or CDATA
  at int := 0;  -- characters read
  out text[] := '{}';
  token text;
  tag text;
  found record;
BEGIN
  IF x ~ U&'[\0001-\0008\000B\000C\000E-\001F\FFFE\FFFF]' THEN
    PERFORM tsql.xml_fail(9420, 'illegal xml character', x, 0);
  END IF;
  IF x ~* '^<\?xml[ \t\n]' THEN
    token := substring(x FROM '^<\?[^?]*\?>');
    IF token IS NULL OR token ~* 'encoding' THEN PERFORM tsql.refuse('xml that declares its encoding'); END IF;
    x := substr(x, char_length(token) + 1);
  END IF;
  FOR token IN SELECT (regexp_matches(x, pattern, 'g'))[1] UNION ALL SELECT '' LOOP
    IF left(token, 1) = '<' AND left(token, 9) <> '<![CDATA[' OR token = '' THEN
      IF btrim(chars, E' \t\n\r') <> '' THEN
        out := out || (CASE WHEN hanging THEN '>' ELSE '' END || tsql.xml_escaped(chars));
        hanging := false;
      ELSIF odd THEN
        PERFORM tsql.refuse('xml with white space that is written as references or CDATA, and nothing beside it');
      END IF;
      chars := '';
      odd := false;
      IF hanging AND left(token, 2) <> '</' THEN
        out := out || '>'::text;
        hanging := false;
      END IF;
    END IF;
    IF token = '' THEN
      EXIT;
    ELSIF left(token, 9) = '<![CDATA[' THEN
      chars := chars || substr(token, 10, char_length(token) - 12);
      odd := true;
    ELSIF left(token, 4) = '<!--' OR left(token, 2) = '<?' THEN
      IF token ~* '^<\?xml[ \t\n?]' THEN PERFORM tsql.xml_fail(9438, 'text/xmldecl not at the beginning of input', x, at); END IF;
      out := out || token;
    ELSIF left(token, 2) = '</' THEN
      tag := btrim(substr(token, 3, char_length(token) - 3), E' \t\n');
      IF tag IS DISTINCT FROM opened[cardinality(opened)] THEN
        PERFORM tsql.xml_fail(9436, 'end tag does not match start tag', x, at);
      END IF;
      out := out || (CASE WHEN hanging THEN '/>' ELSE '</' || tag || '>' END);
      hanging := false;
      prefixes := prefixes[1:sizes[cardinality(sizes)]];
      sizes := sizes[1:cardinality(sizes) - 1];
      opened := opened[1:cardinality(opened) - 1];
    ELSIF left(token, 1) = '<' AND char_length(token) > 1 THEN
      tag := substring(token FROM '^<([^ \t\n/>]+)');
      found := tsql.xml_attributes(rtrim(substr(token, char_length(tag) + 2), '/>'), prefixes, x, at);
      IF tag ~ ':' AND tag !~ '^xml:' AND split_part(tag, ':', 1) <> ALL (found.declared) THEN
        PERFORM tsql.xml_fail(9459, 'undeclared prefix', x, at);
      END IF;
      out := out || ('<' || tag || found.written);
      IF right(token, 2) = '/>' THEN
        out := out || '/>'::text;
      ELSE
        hanging := true;
        opened := opened || tag;
        sizes := sizes || cardinality(prefixes);
        prefixes := found.declared;
      END IF;
    ELSIF token = '<' THEN
      tag := substr(x, at + 1, 9);
      IF tag ~* '^<!DOCTYPE' THEN
        PERFORM tsql.fail(6359, 'Parsing XML with internal subset DTDs not allowed. Use CONVERT with style option 2 to enable limited internal subset DTD support.');
      ELSIF substr(x, at + 1) !~ '>' THEN
        PERFORM tsql.xml_fail(9400, 'unexpected end of input', x, char_length(x));
      ELSIF substring(substr(x, at + 1) FROM '^<[^>]*>') ~ U&'[\0080-\+10FFFF]' THEN
        PERFORM tsql.refuse('xml with characters in its names that are no letters to PostgreSQL');
      END IF;
      PERFORM tsql.xml_fail(9455, 'illegal qualified name character', x, at);
    ELSE
      IF token ~ '\]\]>' THEN PERFORM tsql.xml_fail(9420, 'illegal xml character', x, at); END IF;
      chars := chars || tsql.xml_decoded(token, x, at);
      odd := odd OR token ~ '&';
    END IF;
    at := at + char_length(token);
  END LOOP;
  IF cardinality(opened) > 0 THEN
    PERFORM tsql.xml_fail(9400, 'unexpected end of input', x, at);
  END IF;
  RETURN array_to_string(out, '');
END $$;
