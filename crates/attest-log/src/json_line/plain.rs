//! Reading of lines as [`super::write`] writes them: keys in their order, no spaces, no `\u`. Of other lines nothing is said here.

use super::read::{Value, Values};
use super::{Form, KEYS};
use crate::encoding::TextListBuf;

/// Bytes that are looked at together.
const WORD: usize = 8;

/// What is left of a line, and where its texts with escapes go.
pub struct Plain<'r, 'a> {
    rest: &'a [u8],
    /// As long as the line and a word, so that words are copied whole; up to `used` it holds texts.
    unescaped: &'r mut [u8],
    used: usize,
    changed: &'r mut TextListBuf,
}

impl<'r, 'a> Plain<'r, 'a> {
    /// Of a line; None where it can be no plain one.
    pub fn new(
        line: &'a [u8],
        unescaped: &'r mut Vec<u8>,
        changed: &'r mut TextListBuf,
    ) -> Option<Self> {
        // Cut at quotes and backslashes, all of its texts are UTF-8 if it is.
        std::str::from_utf8(line).ok()?;
        // Control characters. A loop that ended at the first would look at one byte after the other.
        if line.iter().copied().fold(u8::MAX, u8::min) < b' ' {
            return None;
        }
        changed.clear();
        if unescaped.len() < line.len() + WORD {
            unescaped.resize(line.len() + WORD, 0);
        }
        Some(Self {
            rest: line,
            unescaped,
            used: 0,
            changed,
        })
    }

    /// Reads the line; None, and some values, where it is not plain.
    pub fn object(mut self, values: &mut Values<'a>) -> Option<()> {
        let (mut before, mut next) = (b'{', 0);
        while !self.rest.is_empty() {
            self.byte(before)?;
            self.byte(b'"')?;
            let column = next + KEYS[next..].iter().position(|(key, _)| self.begins(key))?;
            self.rest = &self.rest[KEYS[column].0.len() + 1..];
            self.byte(b':')?;
            values[column] = Some(match KEYS[column].1 {
                Form::Integer => self.integer()?,
                Form::Text | Form::Hex => self.text()?,
                Form::List => self.list()?,
            });
            (before, next) = (b',', column + 1);
            if self.rest == b"}" {
                return Some(());
            }
        }
        None
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (*first == byte).then_some(())
    }

    /// Whether this key is next, with its quote, by which most others are told apart.
    fn begins(&self, key: &str) -> bool {
        self.rest.get(key.len()) == Some(&b'"') && self.rest.starts_with(key.as_bytes())
    }

    fn integer(&mut self) -> Option<Value<'a>> {
        let negative = self.rest.first() == Some(&b'-');
        let digits = &self.rest[usize::from(negative)..];
        let length = digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = digits.split_at(length);
        self.rest = rest;
        let number = digits.iter().try_fold(0_u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })?;
        match (digits, negative) {
            // JSON knows no `007`, and no integer `-0`.
            ([] | [b'0', _, ..], _) | ([b'0'], true) => None,
            (_, true) => Some(Value::Negative(0_i64.checked_sub_unsigned(number)?)),
            (_, false) => Some(Value::Natural(number)),
        }
    }

    fn text(&mut self) -> Option<Value<'a>> {
        self.byte(b'"')?;
        let text = self.rest;
        let mut length = 0;
        loop {
            let (run, _) = run(&text[length..]);
            length += run;
            match text.get(length) {
                Some(b'"') => {
                    self.rest = &text[length + 1..];
                    return Some(Value::InLine(&text[..length]));
                }
                Some(b'\\') => return self.unescape(),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// The rest of a text that has escapes.
    fn unescape(&mut self) -> Option<Value<'a>> {
        let from = self.used;
        loop {
            let (run, word) = run(self.rest);
            self.unescaped
                .get_mut(self.used..self.used + WORD)?
                .copy_from_slice(&word);
            self.used += run;
            self.rest = &self.rest[run..];
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(Value::Unescaped(from, self.used));
                }
                [b'\\', escape, rest @ ..] => {
                    self.rest = rest;
                    *self.unescaped.get_mut(self.used)? = match escape {
                        b'"' | b'\\' | b'/' => *escape,
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        _ => return None,
                    };
                    self.used += 1;
                }
                [b'\\'] | [] => return None,
                _ => {}
            }
        }
    }

    fn list(&mut self) -> Option<Value<'a>> {
        self.byte(b'[')?;
        if self.rest.first() == Some(&b']') {
            self.byte(b']')?;
            return Some(Value::List);
        }
        loop {
            if let Some(rest) = self.rest.strip_prefix(b"null") {
                self.rest = rest;
                self.changed.push(None).ok()?;
            } else {
                let text = match self.text()? {
                    Value::Unescaped(from, to) => &self.unescaped[from..to],
                    Value::InLine(text) => text,
                    _ => return None,
                };
                self.changed.push(Some(text)).ok()?;
            }
            match self.rest.split_first()? {
                (b',', rest) => self.rest = rest,
                (b']', rest) => {
                    self.rest = rest;
                    return Some(Value::List);
                }
                _ => return None,
            }
        }
    }
}

/// How many of the first bytes, a word of them at most, stand before a quote or a backslash, and that word, with zeros behind the end.
fn run(text: &[u8]) -> (usize, [u8; WORD]) {
    let mut word = [0; WORD];
    match text.first_chunk() {
        Some(whole) => word = *whole,
        None => word[..text.len()].copy_from_slice(text),
    }
    let number = u64::from_le_bytes(word);
    let hits = holding(number, b'"') | holding(number, b'\\');
    let run = (hits.trailing_zeros() / 8) as usize;
    (run.min(text.len()), word)
}

/// Has the high bit of the lowest byte that is this one, and none below it.
fn holding(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; WORD]);
    const HIGH: u64 = u64::from_le_bytes([0x80; WORD]);
    let zero = word ^ (ONES * u64::from(byte));
    zero.wrapping_sub(ONES) & !zero & HIGH
}
