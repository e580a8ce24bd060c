//! x
use fapi_bff_conformance::{
    pki::Pki,
    suite::{
        hardening, oidf,
        runner::{self, Chosen, Options},
        world::CLIENT_ID,
    },
};
use std::sync::Arc;
#[tokio::main]
async fn main() {
    let pki = Arc::new(Pki::generate(CLIENT_ID).unwrap());
    let mut plans = vec![hardening::plan()];
    plans.extend(oidf::plans());
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut chosen = vec![];
    for plan in &plans {
        for variant in plan.variants() {
            if plan.is_supported(&variant) {
                let mut entries = plan.entries(&variant);
                entries.retain(|e| e.id().contains(&filter));
                chosen.push(Chosen {
                    id: plan.id.into(),
                    title: plan.title.into(),
                    certification: (plan.certification)(&variant),
                    entries,
                    variant,
                });
            }
        }
    }
    let t = std::time::Instant::now();
    let reports = runner::run(&pki, &chosen, &Options::default(), &mut |_| {}).await;
    for plan in &reports {
        println!("{} {:?}", plan.id, plan.variant);
        for m in &plan.modules {
            println!("  {:70} {:8} {:.1} {}", m.id, m.verdict, m.seconds, m.note);
            if !filter.is_empty() {
                println!("{}", serde_json::to_string_pretty(m).unwrap());
            }
        }
    }
    println!("{:?}", t.elapsed());
}
