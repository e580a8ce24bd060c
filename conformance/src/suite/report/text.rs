//! Text that came from anywhere, made fit to be shown: nothing in it may steer a terminal, reverse
//! the reading order or hide. It must not know the form it is shown in.

use std::fmt::{self, Write};

/// Whether a character acts instead of being seen: controls, and those that change the direction of
/// text or have no width.
pub(super) const fn is_hidden(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// Writes a hidden character as what it is: `\u{1b}`.
pub(super) fn reveal(out: &mut impl Write, character: char) -> fmt::Result {
    write!(out, "{}", character.escape_unicode())
}

/// The text in one line without hidden characters; lines and tabs become spaces.
pub(crate) fn one_line(text: &str, ascii: bool) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            _ if is_hidden(character) || (ascii && !character.is_ascii()) => {
                line.extend(character.escape_unicode());
            }
            _ => line.push(character),
        }
    }
    line
}

/// Seconds in whole milliseconds, as they are written: a form drawn from what was read back says
/// the same as one drawn at once. What is no number is nought.
pub(super) fn milliseconds(seconds: f64) -> f64 {
    let seconds = if seconds.is_finite() { seconds } else { 0.0 };
    (seconds * 1000.0).round() / 1000.0
}

/// A moment for people, `2026-11-26 22:07:21 UTC`; anything but an RFC 3339 time in UTC as it is.
pub(super) fn moment(text: &str) -> String {
    let parts = text.strip_suffix('Z').and_then(|text| text.split_once('T'));
    let Some((date, time)) = parts else { return text.to_owned() };
    let whole = time.split_once('.').map_or(time, |(whole, _)| whole);
    format!("{date} {whole} UTC")
}

/// A time still to come, without decimals, which nobody knows.
pub(super) fn rough(seconds: f64) -> String {
    let seconds = seconds.ceil();
    if seconds < 60.0 { format!("{seconds:.0} s") } else { duration(seconds) }
}

/// A time for people: `0.4 s`, `2 min 05 s`, `1 h 02 min`.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = milliseconds(seconds).max(0.0);
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = std::time::Duration::from_secs_f64(seconds.round().min(1e9)).as_secs();
    match whole / 60 {
        minutes @ 0..60 => format!("{minutes} min {:02} s", whole % 60),
        minutes => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// `1 module`, `2 modules`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_or_turn_text_around_is_spelt_out() {
        assert_eq!(
            one_line("a\x1b[2J\u{9b}b\u{202e}c\nd", false),
            "a\\u{1b}[2J\\u{9b}b\\u{202e}c d"
        );
        assert_eq!(one_line("naïve → 日", false), "naïve → 日");
        assert_eq!(one_line("naïve", true), "na\\u{ef}ve");
    }

    #[test]
    fn moments_lose_their_fractions_and_nothing_else_is_touched() {
        assert_eq!(moment("2026-11-26T22:07:21.742038804Z"), "2026-11-26 22:07:21 UTC");
        assert_eq!(moment("2026-11-26T22:07:21Z"), "2026-11-26 22:07:21 UTC");
        assert_eq!(moment("2026-11-26T22:07:21+01:00"), "2026-11-26T22:07:21+01:00");
        assert_eq!(moment(""), "");
    }

    #[test]
    fn what_is_left_has_no_decimals() {
        assert_eq!(rough(31.2), "32 s");
        assert_eq!(rough(59.5), "1 min 00 s");
        assert_eq!(rough(90.0), "1 min 30 s");
    }

    #[test]
    fn times_are_short_and_never_nonsense() {
        let cases = [
            (-1.0, "0.0 s"),
            (f64::NAN, "0.0 s"),
            (0.44, "0.4 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (125.0, "2 min 05 s"),
            (3720.0, "1 h 02 min"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}
