//! `cargo conformance`. It must not know what its arguments mean; see `cli`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    fapi_bff_conformance::cli::main().await
}
