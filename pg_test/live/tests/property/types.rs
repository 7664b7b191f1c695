//! Column types that make images hard, each with values that make them harder.
//!
//! Invariant: a value is the type's input text, so that it serves in SQL and in COPY alike.

use std::fmt::Write;

/// A column type and its values; index 0 is the plainest, for shrinking.
#[derive(Debug)]
pub struct Type {
    pub name: &'static str,
    pub values: &'static [&'static str],
}

/// Stands for some 10 kB of text that does not compress: stored out of line.
const LONG: &str = "@long";

const fn of(name: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, values }
}

/// What the generated schemas need beforehand; `evil` shadows what a careless caller would find.
pub const PRELUDE: &str = r#"CREATE SCHEMA w;
CREATE EXTENSION hstore SCHEMA public;
CREATE TYPE w.mood AS ENUM ('sad', 'ok', 'very "happy"');
CREATE TYPE w.pair AS (a numeric, b text, c timestamptz);
CREATE DOMAIN w.posint AS int CHECK (value > 0);
CREATE DOMAIN w.pairs AS w.pair[];
CREATE TYPE w.textrange AS RANGE (subtype = text, collation = "C");
CREATE SCHEMA evil;
CREATE FUNCTION evil.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS 'SELECT ''"evil"''::pg_catalog.jsonb';
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT ''epoch''::pg_catalog.timestamptz';
CREATE FUNCTION evil.nextval(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (false);
CREATE TABLE evil.audit_events (event_id bigint);"#;

/// Every type; the first is the plainest.
pub static ALL: &[Type] = &[
    of(
        "text",
        &[
            "x",
            "",
            "quote's \"double\" \\ back",
            "tab\tline\nend",
            "ünï🐘",
            LONG,
            "***",
        ],
    ),
    of(
        "int8",
        &["0", "9223372036854775807", "-9223372036854775808"],
    ),
    of("int2", &["0", "32767", "-32768"]),
    of("bool", &["t", "f"]),
    of(
        "numeric",
        &[
            "1.5",
            "1.50",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0.000",
            "1e130",
            "1e-100",
            "123456789012345678901234567890.1234567890",
        ],
    ),
    of("numeric(10,2)", &["1.5", "-99999999.99", "NaN"]),
    of(
        "float8",
        &[
            "1",
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0.1",
            "1e308",
            "5e-324",
            "1e15",
            "1e16",
        ],
    ),
    of(
        "float4",
        &["1", "NaN", "-Infinity", "-0", "0.1", "3.4e38", "1e-45"],
    ),
    of("varchar(12)", &["x", "", "a\\b/c\"d"]),
    of("char(5)", &["ab", "", "abcde"]),
    of("\"char\"", &["a", "\"", "'"]),
    of("name", &["x", "pg_class"]),
    of("bytea", &["\\x", "\\x00ff", "\\x5c27", "\\xdeadbeef"]),
    of(
        "date",
        &[
            "2024-02-29",
            "infinity",
            "-infinity",
            "0044-03-15 BC",
            "5874897-12-31",
        ],
    ),
    of("time", &["12:34:56.789", "24:00:00", "00:00"]),
    of("timetz", &["12:34:56+05:30", "00:00:00-15:59"]),
    of(
        "timestamp",
        &[
            "2024-03-31 02:30:00.123456",
            "infinity",
            "-infinity",
            "4713-01-01 00:00 BC",
        ],
    ),
    of(
        "timestamptz",
        &[
            "2024-10-27 02:30+02",
            "infinity",
            "-infinity",
            "0001-01-01 00:00+00 BC",
            "1883-11-18 12:03:57+00",
            "294276-12-31 23:59:59.999999+00",
        ],
    ),
    of(
        "interval",
        &[
            "1 mon 2 days -03:04:05.6",
            "0",
            "-1 year",
            "178000000 years",
            "1 day -1 sec",
        ],
    ),
    of("money", &["12.34", "-0.01", "-92233720368547758.08"]),
    of("bit(4)", &["0000", "1010"]),
    of("varbit", &["", "1", "10101010101"]),
    of(
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000000",
            "deadbeef-0000-4000-8000-00000000beef",
        ],
    ),
    of(
        "jsonb",
        &[
            "{}",
            "null",
            "[1, 2.50, {\"a\": null}]",
            "1.50",
            "\"\\u00e9\\n\"",
            "{\"b\":1,\"a\":{\"z\":[]}}",
        ],
    ),
    of(
        "json",
        &[
            "{}",
            "null",
            "{\"a\":1, \"a\" : 2}",
            " [1,2 ] ",
            "1.50",
            "\"\\u0041\"",
            "\"\\u0000\"",
            "{\"deep\":[[[[[[[[[[1]]]]]]]]]]}",
        ],
    ),
    of("int4range", &["[1,5)", "empty", "(,)", "[3,]"]),
    of("numrange", &["[1.5,1.50]", "empty", "[,NaN]"]),
    of(
        "tstzrange",
        &[
            "[2024-01-01 00:00+00,infinity)",
            "(,)",
            "[2024-10-27 00:00+00,2024-10-27 03:00+00]",
        ],
    ),
    of("daterange", &["[2024-01-01,2024-02-01)", "(,infinity)"]),
    of("w.textrange", &["[a,b)", "[\"x, y\",z]"]),
    of("int4multirange", &["{}", "{[1,2),[5,9)}"]),
    of(
        "tstzmultirange",
        &["{}", "{[2024-01-01 00:00+00,2024-01-02 00:00+00)}"],
    ),
    of(
        "int[]",
        &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[5:6]={1,2}"],
    ),
    of(
        "text[]",
        &["{}", "{\"a,b\",\"c\\\"d\",NULL,\"\"}", "{NULL}"],
    ),
    of(
        "timestamptz[]",
        &["{}", "{\"2024-01-01 00:00+00\",infinity,NULL}"],
    ),
    of("float8[]", &["{}", "{NaN,Infinity,0.1}"]),
    of("bytea[]", &["{}", "{\"\\\\x00ff\"}"]),
    of(
        "w.pair",
        &[
            "(1.50,\"x, y\",\"2024-01-01 00:00+00\")",
            "(,,)",
            "(NaN,\"\",infinity)",
        ],
    ),
    of(
        "w.pair[]",
        &[
            "{}",
            "{\"(1.50,x,)\",NULL,\"(,\\\"a\\\\\\\"b\\\",-infinity)\"}",
        ],
    ),
    of("w.pairs", &["{}", "{\"(1,x,)\"}"]),
    of("w.mood", &["ok", "sad", "very \"happy\""]),
    of("w.mood[]", &["{}", "{ok,\"very \\\"happy\\\"\",NULL}"]),
    of("w.posint", &["1", "2147483647"]),
    of(
        "public.hstore",
        &["a=>1", "", "\"b c\"=>NULL, \"d\"=>\"x, \\\"y\\\"\""],
    ),
    of("oid", &["0", "4294967295"]),
    of("regclass", &["pg_class", "w.t0", "12345678"]),
    of(
        "regtype",
        &["w.mood", "int4", "timestamptz[]", "public.hstore"],
    ),
    of("xid8", &["0", "18446744073709551615"]),
    of("pg_lsn", &["0/0", "FFFFFFFF/FFFFFFFF"]),
    of("pg_snapshot", &["10:20:10,14,15"]),
    of("inet", &["10.0.0.1/8", "::1", "255.255.255.255"]),
    of("cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    of("macaddr", &["08:00:2b:01:02:03"]),
    of("point", &["(1,2)", "(0.1,NaN)", "(Infinity,-0)"]),
    of("box", &["(2,2),(0.1,0.1)"]),
    of("circle", &["<(0,0),1>", "<(0.1,0.2),Infinity>"]),
    of("polygon", &["((0,0),(1,1),(1,0.1))"]),
    of("tsvector", &["'a':1A 'b''c':2", ""]),
    of("tsquery", &["'a' & 'b c':*"]),
    of("jsonpath", &["$.\"a\"[*]?(@ > 1)"]),
    of("int2vector", &["1 2 3", ""]),
    of("xml", &["plain", "<a b=\"c\">&amp;</a>", ""]),
];

/// The type that an arbitrary number stands for; `xml` only where the server has it.
pub fn pick(number: u8, xml: bool) -> &'static Type {
    let count = if xml { ALL.len() } else { ALL.len() - 1 };
    &ALL[usize::from(number) % count]
}

impl Type {
    fn value(&self, number: u8) -> Option<&'static str> {
        // Every eighth value is NULL; 0, the simplest, is not.
        if number % 8 == 7 {
            None
        } else {
            Some(self.values[usize::from(number) % self.values.len()])
        }
    }

    /// A value as an SQL expression.
    pub fn sql(&self, number: u8) -> String {
        match self.value(number) {
            None => "NULL".into(),
            Some(LONG) => {
                "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 300) i)".into()
            }
            Some(text) => format!("'{}'::{}", text.replace('\'', "''"), self.name),
        }
    }

    /// A value as a field of COPY's text format.
    pub fn copy(&self, number: u8) -> String {
        let Some(text) = self.value(number) else {
            return "\\N".into();
        };
        let mut field = String::new();
        for character in text.chars() {
            match character {
                '\\' => field.push_str("\\\\"),
                '\t' => field.push_str("\\t"),
                '\n' => field.push_str("\\n"),
                other => field.push(other),
            }
        }
        if text == LONG {
            for i in 0..600 {
                let _ = write!(
                    field,
                    "{:016x}",
                    0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(i + 1)
                );
            }
        }
        field
    }
}
