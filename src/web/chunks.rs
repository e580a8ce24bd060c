//! Owns values that are too long for one cookie: how they are cut into several and put together again.
//! Must not know what is in them, nor judge it: a whole that was not made as one does not open.

use http::{HeaderMap, HeaderValue};

use super::cookies::{
    MAX_COOKIE_OCTETS, SameSite, clear_cookie, cookie, cookie_values, set_cookie,
};

/// The most cookies for one value (CK-6.1).
pub const MOST_CHUNKS: usize = 4;
/// The most octets that all cookies of one value take of a request's `Cookie` header, names and separators
/// included: three quarters of the 8 KiB that intermediaries commonly let through, so that there is room for
/// a login under way beside them (CK-CHUNK).
pub const CHUNKS_BUDGET: usize = 6 * 1024;
/// Before each part: the number of parts in one hexadecimal digit, the generation in sixteen.
const PREFIX: usize = 17;
/// `=` and `; ` around a cookie.
const SEPARATORS: usize = 3;

/// A value out of several cookies. Count and generation are what each cookie says; whoever sealed the value
/// bound them to it, and the order as well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunked {
    /// Number of its parts.
    pub count: usize,
    /// Which writing of the value it is.
    pub generation: u64,
    /// The value.
    pub text: String,
}

/// Name of the part with this number.
fn part_name(name: &str, number: usize) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}.{number}") }
}

/// How many parts a value of `length` octets takes; none if it does not fit.
pub fn parts(name: &str, length: usize) -> Option<usize> {
    (1..=MOST_CHUNKS).find(|count| length <= capacity(name, *count))
}

/// The longest value that fits.
pub fn room(name: &str) -> usize {
    (1..=MOST_CHUNKS).map(|count| capacity(name, count)).max().unwrap_or_default()
}

fn capacity(name: &str, count: usize) -> usize {
    let names: usize = (0..count).map(|number| part_name(name, number).len()).sum();
    let browser = count * (MAX_COOKIE_OCTETS - PREFIX) - names;
    let header = CHUNKS_BUDGET.saturating_sub(names + count * (PREFIX + SEPARATORS));
    browser.min(header)
}

/// `Set-Cookie` values for `text`, and for deleting parts that an earlier, longer one left behind. None if it
/// does not fit: nothing is cut off.
pub fn set_chunks(
    name: &str,
    generation: u64,
    text: &str,
    max_age: Option<u64>,
    same_site: SameSite,
) -> Option<Vec<HeaderValue>> {
    let count = parts(name, text.len())?;
    let mut rest = text;
    let mut cookies = Vec::with_capacity(MOST_CHUNKS);
    for number in 0..count {
        let name = part_name(name, number);
        let (part, further) = rest.split_at_checked(part_length(&name, rest.len()))?;
        let value = format!("{count:x}{generation:016x}{part}");
        cookies.push(set_cookie(&name, &value, max_age, same_site)?);
        rest = further;
    }
    let stale = (count..MOST_CHUNKS).map(|number| part_name(name, number));
    cookies.extend(stale.filter_map(|name| clear_cookie(&name, same_site)));
    rest.is_empty().then_some(cookies)
}

fn part_length(name: &str, left: usize) -> usize {
    left.min(MAX_COOKIE_OCTETS - PREFIX - name.len())
}

/// `Set-Cookie` values that delete every part.
pub fn clear_chunks(name: &str, same_site: SameSite) -> Vec<HeaderValue> {
    let names = (0..MOST_CHUNKS).map(|number| part_name(name, number));
    names.filter_map(|name| clear_cookie(&name, same_site)).collect()
}

/// The value in the cookies of these names, if each of its parts is there exactly once and all are of one
/// writing (CK-DUP, CK-6.1).
pub fn chunks(headers: &HeaderMap, name: &str) -> Option<Chunked> {
    let first = cookie(headers, name).one()?;
    let (count, generation, _) = split(first)?;
    let mut text = String::new();
    for number in 0..count {
        let part = cookie(headers, &part_name(name, number)).one()?;
        text.push_str(matching(part, count, generation)?);
    }
    Some(Chunked { count, generation, text })
}

/// Every value that can be put together, duplicated parts or not, a few at most. Only for ending what they
/// name.
pub fn all_chunks(headers: &HeaderMap, name: &str, most: usize) -> Vec<Chunked> {
    let mut found = Vec::new();
    // Twice as many first parts as may be of use: some fit nothing.
    for first in cookie_values(headers, name).into_iter().take(2 * most) {
        if found.len() >= most {
            break;
        }
        let Some((count, generation, _)) = split(first) else { continue };
        let mut texts = vec![String::new()];
        for number in 0..count {
            let values = if number == 0 {
                vec![first]
            } else {
                cookie_values(headers, &part_name(name, number))
            };
            let parts: Vec<_> =
                values.into_iter().filter_map(|part| matching(part, count, generation)).collect();
            texts = texts
                .iter()
                .flat_map(|text| parts.iter().map(move |part| format!("{text}{part}")))
                .take(most)
                .collect();
        }
        found.extend(texts.into_iter().map(|text| Chunked { count, generation, text }));
    }
    found.truncate(most);
    found
}

/// What a part says it is one of, and the rest of it.
fn split(part: &str) -> Option<(usize, u64, &str)> {
    let (prefix, rest) = part.split_at_checked(PREFIX)?;
    // Exactly one spelling: no sign, no capital letters.
    let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if !prefix.bytes().all(plain) {
        return None;
    }
    let (count, generation) = prefix.split_at_checked(1)?;
    let count = usize::from_str_radix(count, 16).ok()?;
    let generation = u64::from_str_radix(generation, 16).ok()?;
    (1..=MOST_CHUNKS).contains(&count).then_some((count, generation, rest))
}

fn matching(part: &str, count: usize, generation: u64) -> Option<&str> {
    split(part).and_then(|(c, g, rest)| (c == count && g == generation).then_some(rest))
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    const NAME: &str = "__Host-Http-app";

    fn jar(set: &[HeaderValue]) -> Vec<String> {
        set.iter()
            .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned())
            .filter(|pair| !pair.ends_with('='))
            .collect()
    }

    fn sent(jar: &[String]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, jar.join("; ").parse().unwrap());
        headers
    }

    fn text(length: usize) -> String {
        (0..length).map(|at| char::from(b'a' + u8::try_from(at % 26).unwrap())).collect()
    }

    fn set(text: &str) -> Option<Vec<HeaderValue>> {
        set_chunks(NAME, 7, text, Some(60), SameSite::Strict)
    }

    /// CK-5.6, CK-CHUNK: at each boundary, up to the last octet that fits and no further.
    #[test]
    fn what_fits_comes_back_whole_and_what_does_not_is_never_sent() {
        let one = capacity(NAME, 1);
        assert_eq!(one, MAX_COOKIE_OCTETS - NAME.len() - PREFIX);
        for length in [1, 100, one - 1, one, one + 1, room(NAME) - 1, room(NAME)] {
            let text = text(length);
            let cookies = set(&text).unwrap();
            assert_eq!(cookies.len(), MOST_CHUNKS, "each part is set or deleted");
            let jar = jar(&cookies);
            assert!(jar.iter().all(|pair| pair.len() - 1 <= MAX_COOKIE_OCTETS), "{length}");
            assert_eq!(jar.len(), usize::from(length > one) + 1);
            let header = jar.join("; ").len();
            assert!(header <= CHUNKS_BUDGET, "{header}");
            let count = jar.len();
            assert_eq!(chunks(&sent(&jar), NAME), Some(Chunked { count, generation: 7, text }));
        }
        assert!(set(&text(room(NAME) + 1)).is_none());
        assert_eq!(parts(NAME, room(NAME) + 1), None);
        // The longest name an app can have costs room, not correctness.
        let name = format!("__Host-Http-{}", "a".repeat(32));
        let text = text(room(&name));
        let jar = jar(&set_chunks(&name, u64::MAX, &text, None, SameSite::Strict).unwrap());
        assert!(jar.join("; ").len() <= CHUNKS_BUDGET && room(&name) > 5_500);
        assert_eq!(chunks(&sent(&jar), &name).unwrap().text, text);
    }

    /// CK-CHUNK, CK-CLR, CK-4.1.1
    #[test]
    fn a_shorter_value_deletes_the_parts_of_a_longer_one() {
        let cookies = set("short").unwrap();
        let texts: Vec<_> = cookies.iter().map(|c| c.to_str().unwrap().to_owned()).collect();
        for (number, text) in texts.iter().enumerate().skip(1) {
            let deleted =
                format!("{NAME}.{number}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
            assert_eq!(*text, deleted);
        }
        assert_eq!(clear_chunks(NAME, SameSite::Strict).len(), MOST_CHUNKS);
    }

    /// CK-CHUNK, CK-6.1, CK-DUP: anything but all parts of one writing, once each, is no value.
    #[test]
    fn missing_doubled_mixed_and_malformed_parts_are_no_value() {
        let long = text(5_000);
        let jar_of =
            |generation| jar(&set_chunks(NAME, generation, &long, None, SameSite::Strict).unwrap());
        let (old, new) = (jar_of(6), jar_of(7));
        assert_eq!(new.len(), 2);
        assert!(chunks(&sent(&new), NAME).is_some());
        let short = jar(&set("short").unwrap());
        let bad: Vec<Vec<String>> = vec![
            vec![new[0].clone()],
            vec![new[1].clone()],
            vec![new[0].clone(), old[1].clone()],
            vec![old[0].clone(), new[1].clone()],
            vec![new[0].clone(), new[1].clone(), new[1].clone()],
            vec![new[0].clone(), new[0].clone(), new[1].clone()],
            vec![short[0].clone(), new[0].clone(), new[1].clone()],
            vec![],
        ];
        for jar in bad {
            if !jar.is_empty() {
                assert_eq!(chunks(&sent(&jar), NAME), None, "{} parts", jar.len());
            }
        }
        for value in [
            String::new(),
            "1".to_owned(),
            format!("0{:016x}x", 7),
            format!("5{:016x}x", 7),
            format!("1{:016X}x", 0xabc),
            format!("+{:016x}x", 7),
            format!("1+{:015x}x", 7),
            "é".repeat(20),
        ] {
            let mut headers = HeaderMap::new();
            let cookie = HeaderValue::from_bytes(format!("{NAME}={value}").as_bytes()).unwrap();
            headers.insert(COOKIE, cookie);
            assert_eq!(chunks(&headers, NAME), None, "{value}");
        }
        // A part beyond the count is not looked at.
        let beyond = vec![short[0].clone(), new[1].clone()];
        assert_eq!(chunks(&sent(&beyond), NAME).unwrap().text, "short");
    }

    /// CK-DUP: what was tossed in beside a session does not survive a logout.
    #[test]
    fn for_ending_every_whole_counts_and_no_more_than_a_few() {
        let a = jar(&set("first").unwrap());
        let b = jar(&set("second").unwrap());
        let both = sent(&[a[0].clone(), b[0].clone()]);
        let texts: Vec<_> = all_chunks(&both, NAME, 8).into_iter().map(|c| c.text).collect();
        assert_eq!(texts, ["first", "second"]);
        let long = jar(&set(&text(5_000)).unwrap());
        let many: Vec<String> =
            std::iter::once(long[0].clone()).chain(vec![long[1].clone(); 50]).collect();
        assert_eq!(all_chunks(&sent(&many), NAME, 8).len(), 8);
    }
}
