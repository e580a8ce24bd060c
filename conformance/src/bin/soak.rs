//! `cargo soak`; see [`fapi_bff_conformance::soak`].

use std::process::ExitCode;

use clap::Parser as _;
use fapi_bff_conformance::soak;

#[tokio::main]
async fn main() -> ExitCode {
    match soak::run(soak::Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("cargo soak: {fault}");
            ExitCode::from(2)
        }
    }
}
