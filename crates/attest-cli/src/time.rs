//! Times as a person reads them.

/// Seconds since the Unix epoch as `2026-01-31 12:00:00 UTC`.
pub fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the proleptic Gregorian calendar, whose year begins in March (Howard Hinnant, "chrono-compatible
    // low-level date algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, later) = match month_from_march {
        0..=9 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    let year = era * 400 + year_of_era + later;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Microseconds since the Unix epoch as `2026-01-31 12:00:00 UTC`.
pub fn utc_micros(micros: i64) -> String {
    u64::try_from(micros.div_euclid(1_000_000)).map_or_else(|_| micros.to_string(), utc)
}

/// The beginning of a day, `2026-01-31`, UTC, in microseconds since the Unix epoch.
pub fn day(text: &str) -> Result<i64, String> {
    let parse = || {
        // A year of more than four digits is a slip, and could overflow.
        if text.len() != "YYYY-MM-DD".len() {
            return None;
        }
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next()?.parse::<u64>().ok();
        let (year, month, day) = (part()?, part()?, part()?);
        // The days of years since 1970 that began by then and of their months: the inverse of `utc`.
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year.checked_sub(1)?, month + 9)
        };
        let (era, of_era) = (year / 400, year % 400);
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100
            + (153 * month + 2) / 5
            + day.checked_sub(1)?;
        days.checked_sub(719_468)
    };
    let days = parse().filter(|days| utc(days.saturating_mul(86_400)).starts_with(text));
    days.and_then(|days| i64::try_from(days * 86_400_000_000).ok())
        .ok_or_else(|| "not a day: YYYY-MM-DD".to_owned())
}

/// Now, in seconds since the Unix epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{day, utc};

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_767_225_600), "2026-01-01 00:00:00 UTC");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(day("1970-01-01"), Ok(0));
        assert_eq!(day("2026-01-01"), Ok(1_767_225_600_000_000));
        assert_eq!(day("2000-02-29"), Ok(951_782_400_000_000));
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
            assert!(day(text).is_err(), "{text}");
        }
    }
}
