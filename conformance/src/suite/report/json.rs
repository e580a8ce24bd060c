//! A run as JSON: the form that keeps everything and can be read back to write the others. The
//! shape is that of the types, member by member; `v` is its version.

use std::io::{self, Read, Write};

use super::Report;

/// Why a file is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON, or not in the shape of a report.
    #[error("not a report of a conformance run: {0}")]
    Shape(#[from] serde_json::Error),
    /// It was written in a shape this version does not know.
    #[error("a report of version {found}; this program reads version {}", Report::VERSION)]
    Version {
        /// The version it names.
        found: u32,
    },
}

/// Writes a report on one line, its members always in the same order: it is large, and for programs.
pub fn write(report: &Report, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Reads a report that [`write()`] has written.
pub fn read(mut from: impl Read) -> Result<Report, ReadError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(serde_json::Error::io)?;
    // The version first: in a shape of another version anything else may be missing.
    let Version { v } = serde_json::from_slice(&bytes)?;
    if v != Report::VERSION {
        return Err(ReadError::Version { found: v });
    }
    Ok(serde_json::from_slice(&bytes)?)
}

#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::report::samples;

    fn written(report: &Report) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(report, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_no_report_or_of_another_version_is_refused() {
        assert!(matches!(read(&b"{}"[..]), Err(ReadError::Shape(_))));
        assert!(matches!(read(&b"not json"[..]), Err(ReadError::Shape(_))));
        let error = read(&br#"{"v": 2, "all": "new"}"#[..]).unwrap_err();
        assert_eq!(error.to_string(), "a report of version 2; this program reads version 1");
    }

    #[test]
    fn a_report_read_back_is_the_report_and_writes_the_same_text() {
        for report in [samples::small(), samples::hostile(), samples::large(3, 4, 3)] {
            let bytes = written(&report);
            let back = read(bytes.as_slice()).unwrap();
            assert_eq!(back, report);
            assert_eq!(written(&back), bytes);
        }
    }

    #[test]
    fn times_are_written_in_whole_milliseconds_and_are_always_numbers() {
        let mut report = samples::small();
        report.seconds = 1.0 / 3.0;
        report.plans[0].modules[0].seconds = f64::INFINITY;
        let back = read(written(&report).as_slice()).unwrap();
        assert_eq!(back.seconds.to_string(), "0.333");
        assert_eq!(back.plans[0].modules[0].seconds.to_string(), "0");
    }

    #[test]
    fn options_are_kept_and_a_report_without_them_has_none() {
        let mut report = samples::small();
        let text = String::from_utf8(written(&report)).unwrap();
        let options = r#""options":{"jobs":"3","wait":"2"},"#;
        assert!(text.contains(options), "{text}");
        report.options.clear();
        assert_eq!(text.replace(options, "").as_bytes(), written(&report));
        assert_eq!(read(written(&report).as_slice()).unwrap(), report);
    }

    #[test]
    fn words_in_the_file_are_the_documented_ones() {
        let text = String::from_utf8(written(&samples::small())).unwrap();
        for word in ["\"verdict\":\"not_yet_supported\"", "\"status\":\"FINISHED\"", "\"v\":1"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
