//! The matrix as it is, and what is made of it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{sources::*, *};
use crate::suite::{
    report::{ClauseCoverage, Openness},
    verdict::{ModuleReport, PlanReport, Status, Verdict},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn matrix() -> Matrix {
    Matrix::load().unwrap()
}

fn section(letter: &str, ids: &[&[&str]]) -> Section {
    let clauses = ids.iter().map(|ids| {
        let clause = format!(
            "id = {:?}\naliases = {:?}\nsource = 's'\nrequirement = 'r'\nlevel = 'MUST'\n",
            ids[0],
            &ids[1..]
        );
        toml::from_str(&clause).unwrap()
    });
    Section { letter: letter.into(), title: "t".into(), clauses: clauses.collect() }
}

fn small(sections: Vec<Section>) -> Result<Matrix, MatrixError> {
    Matrix::of(sections, Vec::new(), Vec::new(), BTreeMap::new())
}

fn ids<'a>(clauses: &[&'a Clause]) -> Vec<&'a str> {
    clauses.iter().map(|clause| clause.id.as_str()).collect()
}

#[test]
fn an_id_that_is_there_twice_is_refused_in_whatever_role() {
    let twice: [&[&[&str]]; 4] = [
        &[&["X-1"], &["X-1"]],
        &[&["X-1"], &["X-2", "X-1"]],
        &[&["X-1", "X-3"], &["X-2", "X-3"]],
        &[&["X-1", "X-1"]],
    ];
    for rows in twice {
        let refused = small(vec![section("A", rows)]).unwrap_err();
        assert!(matches!(refused, MatrixError::Twice(_)), "{refused}");
    }
    let refused = small(vec![section("A", &[&["X-1"]]), section("B", &[&["X-1"]])]);
    assert!(matches!(refused, Err(MatrixError::Twice(_))));
}

#[test]
fn an_empty_section_and_an_unknown_member_are_refused() {
    assert!(matches!(small(vec![section("A", &[])]), Err(MatrixError::Empty(_))));
    let clause = "id = 'X-1'\nsource = 's'\nrequirement = 'r'\nlevel = 'MUST'\n";
    assert!(toml::from_str::<Clause>(clause).is_ok());
    assert!(toml::from_str::<Clause>(&format!("{clause}lvl = 'MUST'\n")).is_err());
    assert!(toml::from_str::<Clause>(&format!("{clause}feature = 'dpopp'\n")).is_err());
}

#[test]
fn the_matrix_has_its_sections_in_order_and_text_in_every_member() {
    let matrix = matrix();
    let letters: String = matrix.sections().iter().map(|section| section.letter.as_str()).collect();
    assert_eq!(letters, "ABCDEFGHIJKL");
    for (_, clause) in matrix.clauses() {
        for text in [&clause.source, &clause.requirement, &clause.level] {
            assert!(!text.trim().is_empty() && text.trim() == text, "{}", clause.id);
        }
        let tested = [&clause.positive, &clause.negative, &clause.check];
        assert!(tested.iter().any(|text| text.is_some()), "{} says no test", clause.id);
        let texts = tested.into_iter().chain([&clause.remark]).flatten();
        assert!(texts.into_iter().all(|text| !text.trim().is_empty()), "{}", clause.id);
        if let Some(feature) = clause.feature {
            let name = serde_json::to_value(feature).unwrap();
            assert_eq!(name, feature.name(), "{}", clause.id);
        }
    }
    assert!(!matrix.decisions().is_empty());
    let forms = |switch: &Switch| {
        [
            switch.plain_oidc.is_some(),
            switch.fapi1_advanced.is_some(),
            switch.fapi2_security.is_some(),
            switch.fapi2_message_signing.is_some(),
        ]
    };
    assert!(matrix.switches().iter().all(|switch| forms(switch).contains(&true)));
}

#[test]
fn a_combined_row_is_found_by_each_of_its_ids() {
    let matrix = matrix();
    for (alias, id) in [
        ("FAPI2-SP-5.2.1-2", "FAPI2-SP-5.2.1-1/2"),
        ("FAPI2-SP-5.2.1-1/2", "FAPI2-SP-5.2.1-1/2"),
        ("FAPI2-AM-7.3", "FAPI2-AM-7.3"),
        ("HDR-4", "HDR-3/4"),
        ("OIDC-2", "OIDC-3.1.3.3"),
        ("FAPI1-BASE-6.2.2-1", "FAPI1-BASE-5.2.3-11"),
        ("BFF-6.1.2.1-out", "BFF-6.1.2.1-cb/out"),
        ("PXY-1", "PXY-1"),
    ] {
        assert_eq!(matrix.resolve(alias).map(|clause| clause.id.as_str()), Some(id), "{alias}");
    }
    assert_eq!(matrix.resolve("FAPI2-SP-5.2.1"), None);
    assert_eq!(matrix.resolve("fapi2-sp-5.2.1-2"), None);
}

#[test]
fn ids_are_found_in_running_text_with_their_short_forms() {
    let matrix = small(vec![section(
        "A",
        &[
            &["AB-1.2-1"],
            &["AB-1.2-2"],
            &["AB-1.2-3"],
            &["AB-PRJ"],
            &["AB-EF-1"],
            &["CD-3/4", "CD-3", "CD-4"],
        ],
    )])
    .unwrap();
    let found = |text| {
        let cited = matrix.cited(text);
        cited.iter().map(|(w, found)| (w.to_string(), ids(found).join(" "))).collect::<Vec<_>>()
    };
    let pair = |written: &str, clauses: &str| (written.to_owned(), clauses.to_owned());
    assert_eq!(found("(AB-1.2-1, CD-4)."), [pair("AB-1.2-1", "AB-1.2-1"), pair("CD-4", "CD-3/4")]);
    assert_eq!(found("AB-1.2-1/3."), [pair("AB-1.2-1/3", "AB-1.2-1 AB-1.2-3")]);
    assert_eq!(found("AB-1.2-1..3: x"), [pair("AB-1.2-1..3", "AB-1.2-1 AB-1.2-2 AB-1.2-3")]);
    assert_eq!(
        found("CD-3/4 and\n/// AB-PRJ"),
        [pair("CD-3/4", "CD-3/4"), pair("AB-PRJ", "AB-PRJ")]
    );
    // Half of it is unknown: all of it is.
    for unknown in ["AB-1.2-9", "AB-1.2-1/9", "AB-1.2-1..9", "AB-1.2", "AB-NO"] {
        assert_eq!(found(unknown), [pair(unknown, "")], "{unknown}");
    }
    for other in
        ["AB", "AB-EF", "AB 1.2-1", "x-AB-PRJ", "AB-based", "ab-1.2-1", "XAB-1.2-1", "RFC-9"]
    {
        assert_eq!(found(other), [], "{other}");
    }
}

/// Words in capitals that only look like ids.
const NOT_IDS: [&str; 1] = ["FAPI2-MESSAGE-SIGNING"];

#[test]
fn every_clause_cited_anywhere_is_in_the_matrix() {
    let (matrix, root) = (matrix(), root());
    let mut texts = vec![root.join("README.md"), root.join("SECURITY.md")];
    for folder in ["src", "tests", "conformance", "fuzz/fuzz_targets", "deploy", "certs"] {
        texts.extend(files(&root.join(folder), &["rs", "toml", "md", "js", "mjs"]).unwrap());
    }
    let mut cited = 0;
    let mut unknown = Vec::new();
    for file in texts {
        // This file tells what is no id.
        if file.ends_with("suite/requirements/tests.rs") {
            continue;
        }
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            for (written, clauses) in matrix.cited(line) {
                cited += 1;
                if clauses.is_empty() && !NOT_IDS.contains(&written) {
                    let place = format!("{}:{}", relative(&root, &file), number + 1);
                    unknown.push(format!("{place}: {written}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "not in the matrix:\n{}", unknown.join("\n"));
    assert!(cited > 500, "only {cited} citations: the search finds too little");
}

#[test]
fn the_list_of_tests_is_not_stale() {
    let (matrix, root) = (matrix(), root());
    let now = written(&citations(&root, &matrix).unwrap());
    let kept = fs::read_to_string(root.join(TESTS_FILE)).unwrap();
    assert!(now == kept, "{TESTS_FILE} is stale: run `cargo conformance requirements --update`");
    for id in matrix.tests.keys() {
        assert!(matrix.resolve(id).is_some_and(|clause| clause.id == *id), "{id}");
    }
}

const SOURCE: &str = r#"//! About the file: AB-1.

/// Not a test: AB-2.
fn helper() {}

/// One: AB-3,
/// AB-4.
#[tokio::test(flavor = "current_thread")]
#[ignore = "slow"]
async fn one() {
    if true {
        assert!(true, "AB-5");
    }
}

/// Of the constant.
const X: u8 = 1;

#[cfg(test)]
mod tests {
    //! About the tests: AB-6.

    /// Two.
    #[test]
    fn two() {}

    // AB-7
    #[test]
    fn three() {
        x("AB-8")
    }

    /// AB-9
    fn no_test() {}
}
"#;

#[test]
fn tests_are_found_with_what_is_said_about_them_and_in_them() {
    let rows: Vec<String> = (1..=9).map(|item| format!("AB-{item}")).collect();
    let rows: Vec<Vec<&str>> = rows.iter().map(|id| vec![id.as_str()]).collect();
    let rows: Vec<&[&str]> = rows.iter().map(Vec::as_slice).collect();
    let matrix = small(vec![section("A", &rows)]).unwrap();
    let found = |file| {
        let tests = tests_in(file, SOURCE).into_iter().map(|test| {
            let cited = matrix.cited(&test.text);
            let cited: Vec<_> = cited.iter().map(|(written, _)| *written).collect();
            format!("{}: {}", test.name, cited.join(" "))
        });
        tests.collect::<Vec<_>>()
    };
    assert_eq!(found("src/x.rs"), ["one: AB-3 AB-4 AB-5", "two: AB-6", "three: AB-6 AB-7 AB-8"]);
    for file in ["tests/x.rs", "src/y/tests/x.rs", "src/y/tests.rs"] {
        let all = ["one: AB-1 AB-3 AB-4 AB-5", "two: AB-1 AB-6", "three: AB-1 AB-6 AB-7 AB-8"];
        assert_eq!(found(file), all, "{file}");
    }
}

#[test]
fn refreshing_writes_once_and_only_what_changed() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["src", "tests", "conformance/tests", "conformance/requirements"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let file = root.path().join("tests/a.rs");
    fs::write(&file, "/// HDR-4.\n#[test]\nfn framed() {}\n").unwrap();
    assert!(refresh(root.path()).unwrap());
    assert!(!refresh(root.path()).unwrap());
    let kept = fs::read_to_string(root.path().join(TESTS_FILE)).unwrap();
    let kept: BTreeMap<String, Vec<String>> = toml::from_str(&kept).unwrap();
    assert_eq!(kept, BTreeMap::from([("HDR-3/4".into(), vec!["tests/a.rs::framed".into()])]));
    fs::write(&file, "#[test]\nfn framed() {}\n").unwrap();
    assert!(refresh(root.path()).unwrap());
}

fn module(id: &str, verdict: Verdict, clauses: &[&str]) -> ModuleReport {
    ModuleReport {
        status: Status::Finished,
        verdict,
        clauses: clauses.iter().map(|&clause| clause.into()).collect(),
        ..ModuleReport::new(id, "")
    }
}

fn plan(id: &str, modules: Vec<ModuleReport>) -> PlanReport {
    PlanReport {
        id: id.into(),
        title: String::new(),
        variant: BTreeMap::new(),
        certification: None,
        modules,
    }
}

#[test]
fn only_what_passed_proves_and_what_failed_speaks_against() {
    let rows: [&[&str]; 3] = [&["X-1"], &["X-2"], &["X-3/4", "X-3", "X-4"]];
    let matrix = small(vec![section("A", &rows)]).unwrap();
    let of = |modules| coverage(&matrix, &[plan("p", modules)]).clauses.remove(0);
    for (verdict, proves, opens) in [
        (Verdict::Passed, true, false),
        (Verdict::Warning, true, false),
        (Verdict::Review, false, false),
        (Verdict::Skipped, false, false),
        (Verdict::NotYetSupported, false, false),
        (Verdict::Failed, false, true),
    ] {
        let clause = of(vec![module("m", verdict, &["X-1"])]);
        assert_eq!(clause.modules, if proves { vec!["p/m"] } else { vec![] }, "{verdict}");
        assert_eq!(clause.open_modules, if opens { vec!["p/m"] } else { vec![] }, "{verdict}");
        assert_eq!(clause.is_proven(), proves, "{verdict}");
    }
    let broken_off =
        ModuleReport { status: Status::Interrupted, ..module("m", Verdict::Passed, &["X-1"]) };
    assert_eq!(of(vec![broken_off]).open_modules, ["p/m"]);
    let still_running =
        ModuleReport { status: Status::Waiting, ..module("m", Verdict::Passed, &["X-1"]) };
    assert!(!of(vec![still_running]).is_proven());
    let both = of(vec![
        module("good", Verdict::Passed, &["X-1"]),
        module("bad", Verdict::Failed, &["X-1"]),
    ]);
    assert_eq!((both.modules.len(), both.open_modules.len()), (1, 1));
    assert!(!both.is_proven());
}

#[test]
fn every_clause_is_listed_and_a_module_counts_once_under_any_of_its_ids() {
    let rows: [&[&str]; 3] = [&["X-1"], &["X-2"], &["X-3/4", "X-3", "X-4"]];
    let tests = BTreeMap::from([("X-2".to_owned(), vec!["tests/a.rs::b".to_owned()])]);
    let sections = vec![section("A", &rows)];
    let matrix = Matrix::of(sections, Vec::new(), Vec::new(), tests).unwrap();
    let run = [
        plan("p", vec![module("m", Verdict::Passed, &["X-4", "X-3", "X-9", "X-1/2"])]),
        plan("q", vec![module("m", Verdict::Passed, &["X-3/4"])]),
    ];
    let coverage = coverage(&matrix, &run);
    let modules = |at: usize| coverage.clauses[at].modules.join(" ");
    assert_eq!([modules(0), modules(1), modules(2)], ["p/m", "p/m", "p/m q/m"]);
    assert_eq!(coverage.clauses[1].tests, ["tests/a.rs::b"]);
    assert_eq!(coverage.unknown, ["X-9"]);
}

#[test]
fn a_clause_of_a_feature_that_is_not_there_is_told_from_one_without_proof() {
    let mut rows = section("A", &[&["X-1"], &["X-2"], &["X-3"], &["X-4"], &["X-5"], &["X-6"]]);
    rows.clauses[1].feature = Some(Feature::EvidenceStore);
    rows.clauses[2].remark = Some("for the server".into());
    rows.clauses[3].feature = Some(Feature::EvidenceStore);
    let matrix = small(vec![rows]).unwrap();
    let run = plan(
        "p",
        vec![
            module("good", Verdict::Passed, &["X-4", "X-6"]),
            module("bad", Verdict::Failed, &["X-5"]),
        ],
    );
    let coverage = coverage(&matrix, &[run]);
    let standings: Vec<_> = coverage.clauses.iter().map(ClauseCoverage::openness).collect();
    assert_eq!(
        standings,
        [
            Some(Openness::Unproven),
            Some(Openness::NotBuilt),
            Some(Openness::Remarked),
            // By the part of it that is there.
            Some(Openness::NotBuilt),
            Some(Openness::Contradicted),
            None
        ]
    );
    assert_eq!(coverage.clauses[1].feature.as_deref(), Some("evidence-store"));
}
