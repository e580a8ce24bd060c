//! Reason codes out of the BFF's audit file: why the client stopped, which the suite cannot see. It must
//! not know what any of them means.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde_json::Value;

/// How long the file is; 0 if there is none.
pub(super) fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Reason codes of the audit records written after the first `skip` bytes, without `none`.
pub(super) fn reasons(file: &Path, skip: u64) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|mut file| {
        file.seek(SeekFrom::Start(skip))?;
        file.read_to_string(&mut text)
    });
    if read.is_err() {
        return Vec::new();
    }
    let reason = |line: &str| {
        let record: Value = serde_json::from_str(line).ok()?;
        let reason = record.get("reason")?.as_str()?;
        (reason != "none").then(|| reason.to_owned())
    };
    text.lines().filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_those_written_since() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let old = "{\"reason\":\"old\"}\n";
        let new = "{\"reason\":\"none\"}\nnot JSON\n{\"reason\":\"jarm.expired\"}\n";
        fs::write(file.path(), format!("{old}{new}")).unwrap();
        let skip = u64::try_from(old.len()).unwrap();
        assert_eq!(reasons(file.path(), skip), ["jarm.expired"]);
        assert!(reasons(Path::new("/nonexistent"), 0).is_empty());
    }
}
