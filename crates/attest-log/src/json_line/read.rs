//! Reading, without memory of its own per event: texts without escapes stay in the line, the others share one buffer.
//!
//! Any spelling is read by `serde_json`; the plain one, as nearly all lines have it, faster.

use super::plain::Plain;
use super::{Form, KEYS, LEAF_INDEX, PAYLOAD_HASH, SALT};
use crate::Error;
use crate::encoding::{EventRecord, TextListBuf, tag};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads lines; keep one for all of them.
#[derive(Debug, Default)]
pub struct LineReader {
    /// Texts that the line has with escapes, one after the other.
    unescaped: Vec<u8>,
    changed: TextListBuf,
}

/// A value as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Negative(i64),
    Natural(u64),
    InLine(&'a [u8]),
    /// From, to in [`LineReader::unescaped`].
    Unescaped(usize, usize),
    /// [`LineReader::changed`]
    List,
}

pub(super) type Values<'a> = [Option<Value<'a>>; KEYS.len()];

impl LineReader {
    /// A reader, which allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The event of a line, and its leaf's index.
    ///
    /// # Errors
    /// [`Error::EventLine`] for anything but an object of the known keys, each once, of the right types; whether the
    /// event fits its leaf is the verifier's business.
    pub fn read<'a>(&'a mut self, line: &'a [u8]) -> Result<(u64, EventRecord<'a>), Error> {
        let malformed = |why: String| Error::EventLine { why };
        let mut values: Values<'a> = [None; KEYS.len()];
        let plain = Plain::new(line, &mut self.unescaped, &mut self.changed);
        if plain.and_then(|plain| plain.object(&mut values)).is_none() {
            values = [None; KEYS.len()];
            self.any_spelling(line, &mut values)
                .map_err(|error| malformed(error.to_string()))?;
        }
        Found {
            reader: self,
            values,
        }
        .event()
        .map_err(|key| malformed(format!("{key} is missing or out of range")))
    }

    fn any_spelling<'a>(
        &mut self,
        line: &'a [u8],
        values: &mut Values<'a>,
    ) -> Result<(), serde_json::Error> {
        self.unescaped.clear();
        self.changed.clear();
        let mut json = serde_json::Deserializer::from_slice(line);
        let object = ObjectSeed {
            reader: self,
            values,
        };
        object.deserialize(&mut json)?;
        json.end()
    }
}

/// A line's values, to be put where they belong; errors name a key.
struct Found<'a> {
    reader: &'a LineReader,
    values: Values<'a>,
}

impl<'a> Found<'a> {
    #[rustfmt::skip]
    fn event(&self) -> Result<(u64, EventRecord<'a>), &'static str> {
        let changed = self.values[usize::from(tag::CHANGED_COLUMNS)];
        let event = EventRecord {
            event_id: self.integer(tag::EVENT_ID)?,
            occurred_at: self.integer(tag::OCCURRED_AT)?,
            captured_at: self.integer(tag::CAPTURED_AT)?,
            xact_id: self.integer(tag::XACT_ID)?,
            statement_id: self.integer(tag::STATEMENT_ID)?,
            backend_pid: self.integer(tag::BACKEND_PID)?,
            table_oid: match self.values[usize::from(tag::TABLE_OID)] {
                Some(_) => Some(self.integer(tag::TABLE_OID)?),
                None => None,
            },
            operation: self.needed(tag::OPERATION)?,
            salt: self.hex(SALT)?,
            schema_name: self.text(tag::SCHEMA_NAME),
            table_name: self.text(tag::TABLE_NAME),
            row_key: self.text(tag::ROW_KEY),
            old_row_key: self.text(tag::OLD_ROW_KEY),
            old_values: self.text(tag::OLD_VALUES),
            new_values: self.text(tag::NEW_VALUES),
            changed_columns: changed.map(|_| self.reader.changed.as_list()),
            session_user_name: self.needed(tag::SESSION_USER_NAME)?,
            effective_role: self.needed(tag::EFFECTIVE_ROLE)?,
            app_user_id: self.text(tag::APP_USER_ID),
            request_id: self.text(tag::REQUEST_ID),
            process_id: self.text(tag::PROCESS_ID),
            session_id: self.text(tag::SESSION_ID),
            tenant_id: self.text(tag::TENANT_ID),
            reason: self.text(tag::REASON),
            application_name: self.text(tag::APPLICATION_NAME),
            client_addr: self.text(tag::CLIENT_ADDR),
            action: self.text(tag::ACTION),
            category: self.text(tag::CATEGORY),
            severity: self.text(tag::SEVERITY),
            entity_type: self.text(tag::ENTITY_TYPE),
            entity_id: self.text(tag::ENTITY_ID),
            entity_name: self.text(tag::ENTITY_NAME),
            description: self.text(tag::DESCRIPTION),
            context: self.text(tag::CONTEXT),
            payload_hash: self.hex(PAYLOAD_HASH)?,
        };
        Ok((self.integer(LEAF_INDEX)?, event))
    }

    fn integer<T: TryFrom<i64> + TryFrom<u64>>(
        &self,
        column: impl Into<usize>,
    ) -> Result<T, &'static str> {
        let column = column.into();
        let value = match self.values[column] {
            Some(Value::Negative(value)) => value.try_into().ok(),
            Some(Value::Natural(value)) => value.try_into().ok(),
            _ => None,
        };
        value.ok_or(KEYS[column].0)
    }

    fn text(&self, column: impl Into<usize>) -> Option<&'a [u8]> {
        match self.values[column.into()]? {
            Value::InLine(text) => Some(text),
            Value::Unescaped(from, to) => self.reader.unescaped.get(from..to),
            Value::Negative(_) | Value::Natural(_) | Value::List => None,
        }
    }

    fn needed(&self, column: u16) -> Result<&'a [u8], &'static str> {
        self.text(column).ok_or(KEYS[usize::from(column)].0)
    }

    /// Lower-case hex digits, two a byte.
    fn hex<const N: usize>(&self, column: usize) -> Result<Option<[u8; N]>, &'static str> {
        let Some(text) = self.text(column) else {
            return Ok(None);
        };
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; N];
        let (pairs, rest) = text.as_chunks();
        if pairs.len() != N || !rest.is_empty() {
            return Err(KEYS[column].0);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = digit(*high).zip(digit(*low)).ok_or(KEYS[column].0)?;
            *byte = high << 4 | low;
        }
        Ok(Some(bytes))
    }
}

/// The object.
struct ObjectSeed<'r, 'v, 'a> {
    reader: &'r mut LineReader,
    values: &'v mut Values<'a>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut next = 0;
        while let Some(column) = map.next_key_seed(KeySeed { next })? {
            let (key, form) = KEYS[column];
            let value = match form {
                Form::Integer => map.next_value_seed(IntegerSeed)?,
                Form::Text | Form::Hex => map.next_value_seed(TextSeed {
                    unescaped: &mut self.reader.unescaped,
                })?,
                Form::List => map.next_value_seed(ListSeed {
                    list: &mut self.reader.changed,
                })?,
            };
            if self.values[column].replace(value).is_some() {
                return Err(de::Error::duplicate_field(key));
            }
            next = column + 1;
        }
        Ok(())
    }
}

/// A key, which is most likely the `next` one or stands soon after it.
struct KeySeed {
    next: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of an event")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<usize, E> {
        (self.next..KEYS.len())
            .chain(0..self.next)
            .find(|column| KEYS[*column].0 == key)
            .ok_or_else(|| E::custom(format_args!("unknown key {key:.40}")))
    }
}

/// A number.
struct IntegerSeed;

impl<'de> DeserializeSeed<'de> for IntegerSeed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_u64(self)
    }
}

impl<'de> Visitor<'de> for IntegerSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Natural(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Negative(value))
    }
}

/// A string.
struct TextSeed<'r> {
    unescaped: &'r mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::InLine(text.as_bytes()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        let from = self.unescaped.len();
        self.unescaped.extend_from_slice(text.as_bytes());
        Ok(Value::Unescaped(from, self.unescaped.len()))
    }
}

/// An array of strings and nulls.
struct ListSeed<'r> {
    list: &'r mut TextListBuf,
}

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value<'de>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value<'de>, A::Error> {
        while elements
            .next_element_seed(ElementSeed { list: self.list })?
            .is_some()
        {}
        Ok(Value::List)
    }
}

/// An element of the array, which goes straight into the list.
struct ElementSeed<'r> {
    list: &'r mut TextListBuf,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl Visitor<'_> for ElementSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.list.push(Some(text.as_bytes())).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.list.push(None).map_err(E::custom)
    }
}
