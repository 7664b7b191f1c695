//! Times as a person reads and writes them, in UTC.

use der::DateTime;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Seconds.
const DAY: u64 = 86_400;

/// Seconds since the Unix epoch as `2026-01-31 12:00:00 UTC`; those past the year 9999 as the number that they are.
pub fn utc(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or_else(
        |_| seconds.to_string(),
        |time| time.to_string().replace('T', " ").replace('Z', " UTC"),
    )
}

/// Microseconds since the Unix epoch as `2026-01-31 12:00:00 UTC`.
pub fn utc_micros(micros: i64) -> String {
    u64::try_from(micros.div_euclid(1_000_000)).map_or_else(|_| micros.to_string(), utc)
}

/// A day of the calendar, from 1970 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// Days since 1970-01-01.
    number: u64,
}

impl Day {
    /// Days since 1970-01-01.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Its first moment, in seconds since the Unix epoch.
    pub fn start(self) -> u64 {
        self.number * DAY
    }

    /// Its first moment, in microseconds since the Unix epoch.
    pub fn start_micros(self) -> i64 {
        // DateTime ends with the year 9999
        self.start().cast_signed() * 1_000_000
    }

    /// The first moment behind it, in seconds since the Unix epoch.
    pub fn end(self) -> u64 {
        self.start() + DAY
    }
}

impl FromStr for Day {
    type Err = String;

    /// Reads `2026-01-31`.
    fn from_str(text: &str) -> Result<Self, String> {
        let midnight: Result<DateTime, _> = format!("{text}T00:00:00Z").parse();
        match midnight {
            Ok(midnight) => Ok(Self {
                number: midnight.unix_duration().as_secs() / DAY,
            }),
            Err(_) => {
                Err("a day is written like 2026-01-31, and is one of the calendar".to_owned())
            }
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = utc(self.start());
        f.write_str(text.split(' ').next().unwrap_or(&text))
    }
}

/// Now, in seconds since the Unix epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Day, utc};

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_767_225_600), "2026-01-01 00:00:00 UTC");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
        let start = |text: &str| text.parse::<Day>().map(Day::start);
        assert_eq!(start("1970-01-01"), Ok(0));
        assert_eq!(start("2026-01-01"), Ok(1_767_225_600));
        assert_eq!(start("2000-02-29"), Ok(951_782_400));
        assert_eq!(
            "2000-02-29".parse::<Day>().unwrap().to_string(),
            "2000-02-29"
        );
        for text in [
            "",
            "2026",
            "2026-01",
            "2026-13-01",
            "2026-02-30",
            "2026-1-1",
            "1969-12-31",
            "99999999999999999-01-01",
        ] {
            assert!(start(text).is_err(), "{text}");
        }
    }
}
