//! `cargo conformance list`: plans, variants, modules. It must not play anything.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Fault, HELD,
    select::{Nothing, plans},
};
use crate::suite::plan::{Entry, Plan};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only plans whose id contains this
    #[arg(long, value_name = "ID")]
    plan: Option<String>,
    /// With every variant
    #[arg(long)]
    variants: bool,
    /// With every module
    #[arg(long)]
    modules: bool,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs) -> Result<u8, Fault> {
    let mut plans = plans();
    if let Some(id) = &args.plan {
        plans.retain(|plan| plan.id.contains(id.as_str()));
        if plans.is_empty() {
            return Err(Nothing::Plan(id.clone()).into());
        }
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", plans.iter().map(as_json).collect::<Value>())?;
        return Ok(HELD);
    }
    for plan in &plans {
        let variants = plan.variants();
        let supported = variants.iter().filter(|variant| plan.is_supported(variant)).count();
        writeln!(out, "{}\n  {}", plan.id, plan.title)?;
        writeln!(out, "  {supported} of {} variants can be run", variants.len())?;
        for parameter in &plan.parameters {
            let values = parameter.values.join(" | ");
            let pinned = if parameter.pinned { "  (fixed)" } else { "" };
            writeln!(out, "    {:<28} {values}{pinned}", parameter.name)?;
        }
        if args.variants {
            for variant in &variants {
                let values: Vec<_> = variant.values().map(String::as_str).collect();
                let lacks = (plan.lacks)(variant);
                let state = if lacks.is_empty() {
                    "can be run".to_owned()
                } else {
                    format!("needs {}", lacks.join(", "))
                };
                writeln!(out, "    {}: {state}", values.join(" "))?;
            }
        }
        if args.modules {
            modules(&mut out, plan)?;
        }
        writeln!(out)?;
    }
    Ok(HELD)
}

/// Those of the variant that can be run, or of the first.
fn modules(out: &mut impl io::Write, plan: &Plan) -> io::Result<()> {
    let variants = plan.variants();
    let variant = variants.iter().find(|v| plan.is_supported(v)).or(variants.first());
    for entry in variant.map(|variant| plan.entries(variant)).unwrap_or_default() {
        match &entry {
            Entry::Ready(module) => writeln!(out, "    {}\n        {}", module.id, module.does)?,
            Entry::NotYetSupported { id, does, lacks, .. } => {
                writeln!(out, "    {id}  (needs {lacks})\n        {does}")?;
            }
        }
    }
    Ok(())
}

fn as_json(plan: &Plan) -> Value {
    let variants = plan.variants().into_iter().map(|variant| {
        let modules = plan.entries(&variant).into_iter().map(|entry| match entry {
            Entry::Ready(module) => json!({
                "id": module.id, "does": module.does, "must": module.must,
                "clauses": module.clauses, "reasons": module.reasons,
            }),
            Entry::NotYetSupported { id, does, must, clauses, lacks } => json!({
                "id": id, "does": does, "must": must, "clauses": clauses, "needs": lacks,
            }),
        });
        json!({
            "certification": (plan.certification)(&variant),
            "supported": plan.is_supported(&variant),
            "modules": modules.collect::<Value>(),
            "variant": variant,
        })
    });
    json!({"id": plan.id, "title": plan.title, "variants": variants.collect::<Value>()})
}
