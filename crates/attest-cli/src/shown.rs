//! Text of others on a terminal.

use std::fmt::{self, Write};

/// Shows a text of whatever origin as one line: characters that would move the cursor, begin another line or turn the
/// direction of writing stand there as escapes.
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if character.is_control() || turns {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn what_moves_the_cursor_is_escaped() {
        let text = "Zoë \u{1b}[2J\nverified\u{202e}\u{9b}";
        let shown = r"Zoë \u{1b}[2J\nverified\u{202e}\u{9b}";
        assert_eq!(Shown(text).to_string(), shown);
    }
}
