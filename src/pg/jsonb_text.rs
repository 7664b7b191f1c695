//! A stored `jsonb` as text, byte for byte as `jsonb_out` prints it.
//!
//! Layout: `src/include/utils/jsonb.h`; text: `JsonbToCStringWorker` of `src/backend/utils/adt/jsonb.c` and `escape_json` of `json.c`;
//! numbers: `get_str_from_var` of `numeric.c`. A property test compares with `jsonb_out`.

/// Header of a container.
const COUNT: u32 = 0x0fff_ffff;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
/// An entry: its type, and an offset or a length.
const HAS_OFFSET: u32 = 0x8000_0000;
const TYPE: u32 = 0x7000_0000;
const STRING: u32 = 0x0000_0000;
const NUMERIC: u32 = 0x1000_0000;
const FALSE: u32 = 0x2000_0000;
const TRUE: u32 = 0x3000_0000;
const NULL: u32 = 0x4000_0000;
const CONTAINER: u32 = 0x5000_0000;
const LENGTH: u32 = 0x0fff_ffff;

/// Deeper values are left to `PostgreSQL`, which checks its stack.
const DEEPEST: u32 = 64;

/// A longer text is not printed. `1e131071` is stored in 12 bytes: a small value can have a text that no memory holds.
pub const LONGEST: usize = 1 << 29;

/// What became of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Printed {
    Whole,
    /// It is not plain, or too deep: `PostgreSQL` may print it.
    NotPlain,
    /// Its text is longer than `LONGEST`, or than the memory there is.
    TooLong,
}

/// Appends the text of a value without its varlena header. Where it is not `Whole`, `text` is of no use.
pub fn write(jsonb: &[u8], text: &mut Vec<u8>) -> Printed {
    let mut text = Text {
        bytes: text,
        too_long: false,
    };
    match container(jsonb, &mut text, 0) {
        Some(()) => Printed::Whole,
        None if text.too_long => Printed::TooLong,
        None => Printed::NotPlain,
    }
}

/// The text so far.
struct Text<'a> {
    bytes: &'a mut Vec<u8>,
    too_long: bool,
}

impl Text<'_> {
    /// Makes sure that so many more bytes fit.
    fn room(&mut self, more: usize) -> Option<()> {
        let fits = self.bytes.len() + more <= LONGEST && self.bytes.try_reserve(more).is_ok();
        self.too_long |= !fits;
        fits.then_some(())
    }

    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let word = bytes.get(index * 4..index * 4 + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn container(bytes: &[u8], text: &mut Text<'_>, depth: u32) -> Option<()> {
    let header = word(bytes, 0)?;
    let count = (header & COUNT) as usize;
    // Brackets, and what stands between the entries.
    text.room(count * 4 + 2)?;
    if depth > DEEPEST {
        return None;
    }
    if header & OBJECT != 0 {
        let entries = Entries::new(bytes, count * 2)?;
        let (mut keys, mut values) = (entries.clone(), entries);
        for _ in 0..count {
            values.skip()?;
        }
        text.push(b'{');
        for position in 0..count {
            if position > 0 {
                text.extend_from_slice(b", ");
            }
            let (_, key) = keys.next()?;
            string(key, text)?;
            text.extend_from_slice(b": ");
            let (kind, value) = values.next()?;
            scalar_or_container(kind, value, text, depth)?;
        }
        text.push(b'}');
    } else {
        let mut entries = Entries::new(bytes, count)?;
        let is_array = header & SCALAR == 0;
        if is_array {
            text.push(b'[');
        }
        for position in 0..count {
            if position > 0 {
                text.extend_from_slice(b", ");
            }
            let (kind, value) = entries.next()?;
            scalar_or_container(kind, value, text, depth)?;
        }
        if is_array {
            text.push(b']');
        }
    }
    Some(())
}

/// The entries of a container, one after the other.
#[derive(Clone)]
struct Entries<'a> {
    bytes: &'a [u8],
    data: &'a [u8],
    next: usize,
    offset: usize,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8], count: usize) -> Option<Self> {
        Some(Self {
            bytes,
            data: bytes.get(4 + count * 4..)?,
            next: 1,
            offset: 0,
        })
    }

    fn skip(&mut self) -> Option<(u32, usize)> {
        let entry = word(self.bytes, self.next)?;
        self.next += 1;
        let start = self.offset;
        let number = (entry & LENGTH) as usize;
        self.offset = if entry & HAS_OFFSET == 0 {
            start + number
        } else {
            number
        };
        Some((entry & TYPE, start))
    }

    fn next(&mut self) -> Option<(u32, &'a [u8])> {
        let (kind, start) = self.skip()?;
        // Numbers and containers begin at multiples of 4; the padding before them is theirs.
        let start = match kind {
            NUMERIC | CONTAINER => start.next_multiple_of(4),
            _ => start,
        };
        Some((kind, self.data.get(start..self.offset)?))
    }
}

fn scalar_or_container(kind: u32, value: &[u8], text: &mut Text<'_>, depth: u32) -> Option<()> {
    match kind {
        STRING => string(value, text)?,
        NUMERIC => numeric(value, text)?,
        FALSE => text.extend_from_slice(b"false"),
        TRUE => text.extend_from_slice(b"true"),
        NULL => text.extend_from_slice(b"null"),
        CONTAINER => container(value, text, depth + 1)?,
        _ => return None,
    }
    Some(())
}

fn string(value: &[u8], text: &mut Text<'_>) -> Option<()> {
    // What is escaped makes room for itself.
    text.room(value.len() + 2)?;
    text.push(b'"');
    let mut rest = value;
    while let Some(place) = rest
        .iter()
        .position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\')
    {
        text.extend_from_slice(&rest[..place]);
        text.room(rest.len() - place + 6)?;
        match rest[place] {
            0x08 => text.extend_from_slice(b"\\b"),
            0x0c => text.extend_from_slice(b"\\f"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            other => text.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = &rest[place + 1..];
    }
    text.extend_from_slice(rest);
    text.push(b'"');
    Some(())
}

/// A `numeric` without its varlena header: a four-byte one, as JSONB stores it, or a short one.
fn body(value: &[u8]) -> Option<&[u8]> {
    match value.first()? & 1 {
        0 => value.get(4..),
        _ => value.get(1..),
    }
}

/// What a `numeric` consists of.
struct Digits<'a> {
    negative: bool,
    /// Decimal digits behind the point.
    scale: u16,
    /// Of the first digit, base 10,000.
    weight: i16,
    units: &'a [[u8; 2]],
}

impl<'a> Digits<'a> {
    /// None for NaN and the infinities.
    fn of(body: &'a [u8]) -> Option<Self> {
        let (units, _) = body.as_chunks::<2>();
        let unit = |index: usize| units.get(index).map(|unit| i16::from_ne_bytes(*unit));
        let header = unit(0)?.cast_unsigned();
        let (negative, scale, weight, first) = match header & 0xc000 {
            // The short form: sign, scale and weight in one.
            0x8000 => {
                let sign = if header & 0x40 == 0 { 0 } else { !0x3f };
                let weight = (header & 0x3f).cast_signed() | sign;
                (header & 0x2000 != 0, (header & 0x1f80) >> 7, weight, 1)
            }
            0xc000 => return None,
            sign => (sign == 0x4000, header & 0x3fff, unit(1)?, 2),
        };
        Some(Self {
            negative,
            scale,
            weight,
            units: &units[first..],
        })
    }
}

/// At most so many bytes are needed for a value's text, however deep it is: none of what [`write`] asks room for is beyond it.
pub fn bound(jsonb: &[u8]) -> usize {
    let mut waiting = vec![jsonb];
    let mut total = 0_usize;
    while let Some(bytes) = waiting.pop() {
        let Some(header) = word(bytes, 0) else {
            continue;
        };
        let count = (header & COUNT) as usize;
        total = total.saturating_add(count * 4 + 2);
        let entries = if header & OBJECT == 0 {
            count
        } else {
            count * 2
        };
        let Some(mut values) = Entries::new(bytes, entries) else {
            continue;
        };
        for _ in 0..entries {
            let Some((kind, value)) = values.next() else {
                break;
            };
            total = total.saturating_add(match kind {
                STRING => bound_of_string(value),
                NUMERIC => body(value).map_or(0, bound_of_numeric),
                CONTAINER => {
                    waiting.push(value);
                    0
                }
                _ => b"false".len(),
            });
        }
    }
    total
}

/// The same of a string.
pub fn bound_of_string(value: &[u8]) -> usize {
    let is_escaped = |byte: &&u8| **byte < b' ' || matches!(**byte, b'"' | b'\\');
    value.len() + value.iter().filter(is_escaped).count() * 5 + 2
}

/// The same of a `numeric` without its varlena header.
pub fn bound_of_numeric(body: &[u8]) -> usize {
    Digits::of(body).map_or(16, |of| {
        let whole = usize::try_from(i32::from(of.weight) + 1).unwrap_or(0) * 4;
        whole + usize::from(of.scale) + 8
    })
}

/// A `numeric` with its varlena header.
fn numeric(value: &[u8], text: &mut Text<'_>) -> Option<()> {
    let Digits {
        negative,
        scale,
        weight,
        units,
    } = Digits::of(body(value)?)?;
    let digit = |position: i32| {
        let digit = usize::try_from(position).ok().and_then(|at| units.get(at));
        digit.map_or(0, |digit| i16::from_ne_bytes(*digit))
    };
    text.room(bound_of_numeric(body(value)?))?;
    let weight = i32::from(weight);
    if negative {
        text.push(b'-');
    }
    if weight < 0 {
        text.push(b'0');
    } else {
        push_digits(digit(0), false, text);
        for position in 1..=weight {
            push_digits(digit(position), true, text);
        }
    }
    if scale > 0 {
        text.push(b'.');
        let end = text.bytes.len() + usize::from(scale);
        let mut position = weight + 1;
        while text.bytes.len() < end {
            push_digits(digit(position), true, text);
            position += 1;
        }
        text.bytes.truncate(end);
    }
    Some(())
}

/// Four decimal digits, with or without leading zeroes.
fn push_digits(digit: i16, padded: bool, text: &mut Text<'_>) {
    let mut rest = digit.unsigned_abs();
    let mut four = [b'0'; 4];
    for place in four.iter_mut().rev() {
        *place += (rest % 10) as u8;
        rest /= 10;
    }
    let zeroes = four[..3].iter().take_while(|byte| **byte == b'0').count();
    text.extend_from_slice(if padded { &four } else { &four[zeroes..] });
}
