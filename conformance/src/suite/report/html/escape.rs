//! The one way text gets into markup. Knows HTML's special characters only.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::suite::report::text;

/// Text for an element or a double-quoted attribute. Hidden characters are spelt out.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                '\n' | '\t' => out.write_char(character)?,
                _ if text::is_hidden(character) => text::reveal(out, character)?,
                _ => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Text of the project's own, in which what stands between backticks is code.
pub(super) struct Prose<'a>(pub(super) &'a str);

impl Display for Prose<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((before, code, after)) = rest.split_once('`').and_then(|(before, rest)| {
            rest.split_once('`').map(|(code, after)| (before, code, after))
        }) {
            write!(out, "{}<code>{}</code>", Text(before), Text(code))?;
            rest = after;
        }
        write!(out, "{}", Text(rest))
    }
}

/// Text for the embedded data: as it is, but for hidden characters; lines stay lines.
pub(super) fn revealed(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\r' => {}
            '\n' | '\t' => shown.push(character),
            _ if text::is_hidden(character) => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}

/// JSON that may stand inside a script element: nothing in it ends the element or opens a comment.
/// JSON has these characters in strings only, where an escape is the same.
pub(super) fn inside_script(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            _ => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_backticks_are_code_and_one_alone_is_itself() {
        assert_eq!(Prose("`a<b` and `").to_string(), "<code>a&lt;b</code> and `");
        assert_eq!(Prose("no code").to_string(), "no code");
        assert_eq!(Prose("``").to_string(), "<code></code>");
    }
}
