use super::*;
use crate::suite::report::{samples, samples::HOSTILE};

/// The page as a tree, with what HTML has and XML does not put right. Fails on markup that is not
/// balanced or text that is not escaped.
fn as_xml(page: &str) -> String {
    let mut xml = page.replace("<!DOCTYPE html>", "");
    for void in ["meta", "input"] {
        let mut closed = String::new();
        let mut rest = xml.as_str();
        while let Some(at) = rest.find(&format!("<{void} ")) {
            let end = at + rest[at..].find('>').unwrap();
            closed.push_str(&rest[..end]);
            closed.push_str("/>");
            rest = &rest[end + 1..];
        }
        closed.push_str(rest);
        xml = closed;
    }
    for (bare, written) in [
        ("<form class=\"filter\" id=\"module-filter\" hidden>", "<form id=\"module-filter\">"),
        ("<form class=\"filter\" id=\"clause-filter\" hidden>", "<form id=\"clause-filter\">"),
        (" open>", ">"),
        (SCRIPT, ""),
        (STYLE, ""),
    ] {
        xml = xml.replace(bare, written);
    }
    xml
}

fn data(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn nothing_in_a_report_becomes_markup_or_script() {
    let page = page(&samples::hostile());
    assert!(!page.contains("alert(1)</script>") && !page.contains("<script>alert"));
    assert!(!page.contains("<!--"));
    assert!(!page.contains(['\0', '\x1b', '\u{202e}']));
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    let xml = as_xml(&page);
    let tree = roxmltree::Document::parse(&xml).unwrap();
    let shown = tree.descendants().filter(|node| {
        node.text()
            .is_some_and(|text| text.contains("<script>alert(1)</script><!-- ]]> \"quoted\""))
    });
    assert!(shown.count() > 20, "hostile text is shown as it is");
}

#[test]
fn the_data_gives_back_every_string_but_for_hidden_characters() {
    let data = data(&page(&samples::hostile()));
    let shown = HOSTILE
        .replace('\0', "\\u{0}")
        .replace('\x1b', "\\u{1b}")
        .replace('\u{ffff}', "\\u{ffff}")
        .replace('\u{202e}', "\\u{202e}");
    let strings = data["s"].as_array().unwrap();
    assert!(strings.iter().any(|string| string == shown.as_str()), "{strings:?}");
    let message = data["m"][0]["l"][1][6].as_u64().unwrap();
    assert_eq!(strings[usize::try_from(message).unwrap()], shown.as_str());
}

#[test]
fn every_link_within_the_page_leads_somewhere_and_no_anchor_is_there_twice() {
    for report in [samples::small(), samples::hostile(), samples::large(30, 2, 2)] {
        let xml = as_xml(&page(&report));
        let tree = roxmltree::Document::parse(&xml).unwrap();
        let ids: Vec<_> = tree.descendants().filter_map(|node| node.attribute("id")).collect();
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "{id} is there twice");
        }
        let links = tree.descendants().filter_map(|node| node.attribute("href"));
        for link in links {
            assert!(ids.contains(&link.strip_prefix('#').unwrap()), "{link} leads nowhere");
        }
    }
}

#[test]
fn the_policy_allows_exactly_the_page_s_own_style_and_script() {
    let page = page(&samples::small());
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let (policy, _) = policy.split_once('"').unwrap();
    assert!(policy.starts_with("default-src 'none'; "));
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, content) = page.split_once(&format!("<{tag}>")).unwrap();
        let (content, _) = content.split_once(&format!("</{tag}>")).unwrap();
        assert!(policy.contains(&format!("{directive} 'sha256-{}'", hash(content))));
        // Either would make what a browser hashes another text than the file's.
        assert!(!content.contains('\r') && !content.contains("<!--"));
    }
    for outside in ["http://", "https://", "//cdn", "@import", "url(", " style=\"", " onclick"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
        assert!(!SCRIPT.contains(risky), "{risky}");
    }
}

#[test]
fn the_head_says_what_was_tested_and_how_it_ended() {
    let mut report = samples::small();
    let text = page(&report);
    for expected in [
        "<h1>1 of 4 supported modules failed</h1>",
        "<p class=\"kind\">Conformance of fapi-bff 0.1.0</p>",
        "it is not a certification.",
        "<a class=\"chip failed\" href=\"#p1.fapi2-security-profile-final-client-test-invalid-iss\"",
        "<code class=\"pair\">jobs=3</code> <code class=\"pair\">wait=2</code>",
        "<dt>Target</dt><dd>in the harness&#39;s own process</dd>",
        "<dt>Product version</dt><dd>0.1.0</dd>",
        "<dt>Started</dt><dd>2026-11-26 20:00:00 UTC</dd>",
        "<dt>Duration</dt><dd>7.5 s</dd>",
        "<dt>Seed</dt><dd>42</dd>",
        "<li>The audit stream was read from the process.</li>",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    report.plans[0].modules.truncate(1);
    assert!(page(&report).contains("<h1>The one supported module passed</h1>"));
    report.plans.clear();
    report.coverage = None;
    let text = page(&report);
    assert!(text.contains("<h1>No module was run</h1>") && !text.contains("Clause coverage"));
}

#[test]
fn what_did_not_pass_is_said_in_markup_so_that_no_script_is_needed_for_it() {
    let text = page(&samples::small());
    let (_, problems) = text.split_once("<h2 id=\"problems\">").unwrap();
    let (problems, _) = problems.split_once("</section>").unwrap();
    assert_eq!(problems.matches("<span class=\"badge").count(), 3, "failed, warning, review");
    assert!(problems.find("FAILED").unwrap() < problems.find("WARNING").unwrap());
    assert!(problems.contains("<code>module.forbidden_call</code> the client called the API"));
    assert!(problems.contains("after POST /token from bff"));
    assert!(problems.contains("<a href=\"#c.EXAMPLE1-5.3.2.2-7\">EXAMPLE1-5.3.2.2-7</a>"));
    let mut passed = samples::small();
    passed.plans[0].modules.truncate(1);
    assert!(!page(&passed).contains("What did not pass"));
}

#[test]
fn a_plan_that_is_not_supported_is_folded_and_one_that_is_stands_open() {
    let text = page(&samples::small());
    assert!(text.contains("id=\"p1\" open>"));
    assert!(text.contains("id=\"p2\">"));
    assert!(text.contains("title=\"NOT YET SUPPORTED\">NOT YET</span>"));
}

#[test]
fn clauses_are_grouped_by_state_with_what_speaks_for_and_against_them() {
    let text = page(&samples::small());
    let (_, coverage) = text.split_once("<h2 id=\"coverage\">").unwrap();
    let titles = ["Contradicted", "Unproven", "Remarked", "Not built", "Proven"];
    let starts = titles.map(|title| coverage.find(&format!("<h3>{title}</h3>")).unwrap());
    assert!(starts.is_sorted(), "{starts:?}");
    let group =
        |at: usize| &coverage[starts[at]..starts.get(at + 1).map_or(coverage.len(), |n| *n)];
    for (at, state) in ["contradicted", "unproven", "remarked", "not_built"].iter().enumerate() {
        assert_eq!(group(at).matches(&format!("data-state=\"{state}\"")).count(), 1, "{state}");
        assert!(coverage.contains(&format!("<option value=\"{state}\">")));
    }
    let id = "fapi2-security-profile-final-client-test";
    let (against, speaks_for) = group(0).split_once("For it</p>").unwrap();
    assert!(against.contains(&format!(
        "<a class=\"id\" href=\"#p1.{id}-invalid-iss\">{id}-invalid-iss</a> \
         <span class=\"word failed\">failed</span>"
    )));
    assert!(speaks_for.contains(&format!("href=\"#p1.{id}-happy-path\"")));
    assert!(group(1).contains("The <code>htu</code> has no query."));
    assert!(group(1).contains("data-level=\"MUST\""));
    assert!(group(2).contains("Needs a resource server of its own."));
    assert!(group(3).contains("Needs the feature <code>dpop</code>."));
    assert_eq!(group(4).matches("data-state=\"modules\"").count(), 1);
    assert!(group(4).contains("proven by tests only"));
    assert!(group(4).contains("<code>a_proof_is_bound</code>"));
}

#[test]
fn what_a_cause_says_is_not_said_again_and_three_of_its_clauses_are_enough() {
    let mut report = samples::small();
    let ids = ["A-1", "A-2", "A-3", "A-4"];
    report.plans[0].modules[1].log[1].clauses = ids.map(str::to_owned).to_vec();
    let text = page(&report);
    let (_, problems) = text.split_once("<h2 id=\"problems\">").unwrap();
    let (problems, _) = problems.split_once("</section>").unwrap();
    assert_eq!(problems.matches("the client called the API").count(), 1);
    assert!(problems.contains("A-1, A-2, A-3</span> <details"));
    assert!(problems.contains("<summary>1 more</summary>A-4</details>"));
}

#[test]
fn a_page_drawn_from_what_was_written_is_the_page_drawn_at_once() {
    let mut report = samples::small();
    report.seconds = 59.949_96;
    for module in report.plans.iter_mut().flat_map(|plan| &mut plan.modules) {
        module.seconds = 0.449_96;
    }
    let mut written = Vec::new();
    crate::suite::report::json::write(&report, &mut written).unwrap();
    let back = crate::suite::report::json::read(written.as_slice()).unwrap();
    assert_ne!(back, report);
    assert_eq!(page(&back), page(&report));
}

#[test]
fn a_large_run_makes_a_page_that_can_be_opened() {
    let report = samples::large(150, 40, 15);
    let text = page(&report);
    assert!(text.len() < 2_000_000, "{} bytes", text.len());
    assert_eq!(data(&text)["m"].as_array().unwrap().len(), 150);
    assert_eq!(text.matches("eyJ… (redacted)").count(), 1, "each string once");
}
