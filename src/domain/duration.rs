//! Durations as people write them: `30s`, `5m`, `12h`, `30d`. Must not know what they are for.

use std::time::Duration;

/// The units, each with its length in seconds.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// What a text that is none is answered with.
pub const EXPECTED: &str = "a whole number and a unit: `30s`, `5m`, `12h` or `30d`";

/// Reads one.
pub fn parse(text: &str) -> Option<Duration> {
    let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit))?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// Writes one in the largest unit that loses nothing.
pub fn text(duration: Duration) -> String {
    let all = duration.as_secs();
    let whole = UNITS.into_iter().rev().find(|(_, seconds)| all.is_multiple_of(*seconds) && all > 0);
    whole.map_or_else(|| "0s".to_owned(), |(unit, seconds)| format!("{}{unit}", all / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_it_was_written() {
        for written in ["30s", "5m", "12h", "30d", "90m", "0s"] {
            assert_eq!(text(parse(written).unwrap()), written);
        }
        assert_eq!(text(parse("120m").unwrap()), "2h");
    }

    #[test]
    fn anything_else_is_none() {
        for written in
            ["", "d", "30", "1.5h", "-1h", "+1h", " 1h", "1 h", "1w", "99999999999999999999d", "1é"]
        {
            assert_eq!(parse(written), None, "{written:?}");
        }
        assert_eq!(parse("18446744073709551615d"), None);
    }
}
