//! What the operator does between modules, usually a restart of the BFF: its caches of metadata and keys
//! are right in production and in the way where every module is another server under one issuer. It
//! must not know what the hook does.

use std::{fmt, io, pin::Pin, process::Stdio, sync::Arc, time::Duration};

use tokio::process::Command;

/// How long a hook may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a hook is told; a command finds it in its environment, under these names in upper case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context {
    /// The module's id.
    pub module: String,
    /// The run's id at the suite.
    pub test_id: String,
    /// The module's issuer.
    pub issuer: String,
    /// The plan's alias.
    pub alias: String,
}

/// What an in-process hook gives back.
pub type Outcome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something to do.
#[derive(Clone)]
pub enum Hook {
    /// A command for `sh -c`. It has ended when the BFF has been told to start; that it answers is
    /// waited for.
    Command(String),
    /// A call in this process.
    Call(Arc<dyn Fn(Context) -> Outcome + Send + Sync>),
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command(_) => "Command",
            Self::Call(_) => "Call",
        })
    }
}

/// Why a hook did not work.
#[derive(Debug, thiserror::Error)]
pub enum HookFault {
    /// The command did not start.
    #[error("the hook did not start: {0}; is there a shell?")]
    Start(#[from] io::Error),
    /// The command ended badly.
    #[error("the hook ended with {0}; run it by hand with MODULE, TEST_ID, ISSUER and ALIAS set")]
    Status(std::process::ExitStatus),
    /// It took too long.
    #[error("the hook did not end within {} s and was killed; let it start the BFF in the background", LIMIT.as_secs())]
    TooLong,
    /// An in-process hook said why itself.
    #[error("the hook failed: {0}")]
    Call(String),
}

impl Hook {
    /// Does it. Whatever a command prints goes to standard error.
    pub async fn run(&self, context: Context) -> Result<(), HookFault> {
        let command = match self {
            Self::Call(call) => return call(context).await.map_err(HookFault::Call),
            Self::Command(command) => command,
        };
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .env("MODULE", context.module)
            .env("TEST_ID", context.test_id)
            .env("ISSUER", context.issuer)
            .env("ALIAS", context.alias)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .kill_on_drop(true)
            .spawn()?;
        let status =
            tokio::time::timeout(LIMIT, child.wait()).await.map_err(|_| HookFault::TooLong)??;
        if status.success() { Ok(()) } else { Err(HookFault::Status(status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            module: "m".to_owned(),
            test_id: "t".to_owned(),
            issuer: "https://suite.test/test/a/x/".to_owned(),
            alias: "x".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_command_that_ends_badly_is_a_fault_and_a_good_one_sees_the_module() {
        let fault = Hook::Command("exit 3".to_owned()).run(context()).await.unwrap_err();
        assert!(fault.to_string().contains("exit status: 3"), "{fault}");
        let seen =
            r#"test "$MODULE $TEST_ID $ISSUER $ALIAS" = "m t https://suite.test/test/a/x/ x""#;
        Hook::Command(seen.to_owned()).run(context()).await.unwrap();
    }
}
