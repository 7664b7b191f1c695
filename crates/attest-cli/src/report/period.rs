//! The period of a report: whole days, in UTC.

use crate::time::Day;
use anyhow::{Result, ensure};
use std::fmt;

/// From the beginning of the first day to the end of the last one.
#[derive(Debug, Clone, Copy)]
pub struct Period {
    first: Day,
    last: Day,
}

impl Period {
    pub fn new(first: Day, last: Day) -> Result<Self> {
        ensure!(
            first <= last,
            "the period ends before it begins: --from {first} --to {last}"
        );
        Ok(Self { first, last })
    }

    /// How many days it has.
    pub fn days(&self) -> u64 {
        self.last.number() - self.first.number() + 1
    }

    /// Its first moment, in seconds since the Unix epoch.
    pub fn start(&self) -> u64 {
        self.first.start()
    }

    /// The first moment behind it, in seconds since the Unix epoch.
    pub fn end(&self) -> u64 {
        self.last.end()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{} to {}", self.first, self.last)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for good in ["1970-01-01", "2024-02-29", "2026-12-31", "2100-02-28"] {
            assert_eq!(good.parse::<Day>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "31.12.2026",
            "1969-12-31",
            "2026-01-31T00:00:00",
            "yesterday",
            "2100-02-29",
        ] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_period_has_both_of_its_days() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let period = Period::new(day("2024-02-28"), day("2024-03-01")).unwrap();
        assert_eq!(period.days(), 3);
        assert_eq!(period.end() - period.start(), 3 * 86_400);
        assert_eq!(period.to_string(), "2024-02-28 to 2024-03-01");
        assert!(Period::new(day("2024-03-01"), day("2024-02-28")).is_err());
        let one = Period::new(day("2024-03-01"), day("2024-03-01")).unwrap();
        assert_eq!((one.days(), one.to_string().as_str()), (1, "2024-03-01"));
    }
}
