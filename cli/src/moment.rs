//! Times as people write and read them: UTC, to the millisecond.

use std::time::Duration;

use crate::command_line::duration;

const DAY_MS: i64 = 86_400_000;

/// The only clock here.
#[allow(
    clippy::disallowed_methods,
    reason = "a command is a shell: it may read the clock"
)]
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// A time in milliseconds since 1970 as `2026-11-21T10:00:00.000Z`.
pub(crate) fn written(milliseconds: i64) -> String {
    let days = milliseconds.div_euclid(DAY_MS);
    let of_day = milliseconds.rem_euclid(DAY_MS);
    let (year, month, day) = date(days);
    let seconds = of_day / 1000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        of_day % 1000
    )
}

/// Reads milliseconds since 1970, `2026-11-21`, `2026-11-21T10:00[:00[.000]][Z|+02:00]`, or a time
/// before now such as `-2h`.
pub(crate) fn read(text: &str, now_ms: i64) -> Result<i64, String> {
    let wrong = || {
        format!(
            "expected a time such as 2026-11-21T10:00:00Z, 2026-11-21, -2h or milliseconds since \
             1970, found {text:?}"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        let ago: Duration = duration(ago).map_err(|_| wrong())?;
        return Ok(now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| wrong());
    }
    parse(text).ok_or_else(wrong)
}

fn parse(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let mut parts = date.splitn(3, '-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return None;
    }
    let (time, offset) = offset(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.splitn(3, ':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let days = days_before(year, month, day);
    Some(days * DAY_MS + (hour * 3600 + minute * 60 + second - offset) * 1000 + millis)
}

/// The time without its zone, and the zone in seconds east of UTC.
fn offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let (hours, minutes) = time[at + 1..].split_once(':')?;
    let seconds = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
    let east = time[at..].starts_with('+');
    Some((&time[..at], if east { seconds } else { -seconds }))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let all = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. Years are counted from March, so that the leap day is the last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// The date so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_alike() {
        let check = |text: &str, expected: &str| {
            let read = read(text, 0).expect(text);
            assert_eq!(written(read), expected, "{text}");
        };
        check("2026-11-21T10:20:30.456Z", "2026-11-21T10:20:30.456Z");
        check("2026-11-21 10:20", "2026-11-21T10:20:00.000Z");
        check("2026-11-21", "2026-11-21T00:00:00.000Z");
        check("2024-02-29T01:00:00+02:00", "2024-02-28T23:00:00.000Z");
        check("2026-01-01T00:30-01:00", "2026-01-01T01:30:00.000Z");
        check("0", "1970-01-01T00:00:00.000Z");
        check("1763720430456", "2025-11-21T10:20:30.456Z");
        assert_eq!(read("-2h", 10_000_000), Ok(2_800_000));
        for day in (-800_000_i64..800_000).step_by(397) {
            let (year, month, of_month) = date(day);
            assert_eq!(days_before(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-13-01",
            "2026-02-29",
            "2026-11-21T24:00",
            "2026-11-21T10",
            "-",
            "-2x",
            "2026-11-21T10:00:00.Z",
            "2026-11-21T10:00+2",
            "99999999999999999999",
        ] {
            assert!(read(text, 0).is_err(), "{text}");
        }
    }
}
