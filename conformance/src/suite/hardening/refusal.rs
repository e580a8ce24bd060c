//! What must come of something wrong in a login, in one place for all that can be wrong: where the
//! client must stop, what the browser is told, what the audit stream says, what is given up. It must
//! not know what is wrong.

use std::sync::Arc;

use super::change::Change;
use crate::{
    as_double::{Endpoint, Event},
    demo::browser::{Answer, Call},
    ledger::Outcome,
    suite::{
        exam::Ending,
        module::{Module, Step},
        stage::{Response, Stage, TRANSACTION_COOKIE, Way},
    },
};

/// Something wrong: its module's id, what the authorization server does, the clauses it proves.
pub(super) struct Wrong<'a>(pub(super) &'a str, pub(super) &'a str, pub(super) &'a [&'static str]);

/// What the browser and the operator are told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// The stable code.
    pub(super) code: &'static str,
    /// The reason in the audit stream.
    pub(super) reason: &'static str,
    /// `Retry-After`, empty for none.
    pub(super) retry_after: &'static str,
}

impl Refusal {
    /// An authorization response that is not believed: anybody may have made it.
    pub(super) const fn rejected(reason: &'static str) -> Self {
        Self { status: 400, code: "login_rejected", reason, retry_after: "" }
    }

    /// A response to no login of this browser's.
    pub(super) const fn stray(reason: &'static str) -> Self {
        Self { code: "transaction_missing", ..Self::rejected(reason) }
    }

    /// The authorization server itself said something that must not be believed.
    pub(super) const fn wrong(reason: &'static str) -> Self {
        Self { status: 502, code: "authorization_server_error", reason, retry_after: "" }
    }

    /// The authorization server is down, and for how long.
    pub(super) const fn outage(reason: &'static str, retry_after: &'static str) -> Self {
        Self { status: 503, code: "authorization_server_unavailable", reason, retry_after }
    }

    /// The browser is told so, and no more.
    pub(super) fn is_told(self, stage: &Stage, check: &str, answer: &Answer) {
        stage.expect_refusal(check, answer, self.status, self.code);
        stage.expect_no_detail(answer, self.code, self.reason);
        let found = answer.header("retry-after");
        let message = format!("Retry-After: {found:?}, {:?} expected", self.retry_after);
        stage.check("retry_after", &[], found == self.retry_after, message);
    }
}

/// An authorization response spoiled by the authorization server itself: no token request follows.
pub(super) fn response(wrong: &Wrong<'_>, refusal: Refusal, change: Change) -> Module {
    change.throughout(mangled(wrong, refusal, |response| response.query.clone()))
}

/// An authorization response that somebody changed on its way back.
pub(super) fn mangled(
    wrong: &Wrong<'_>,
    refusal: Refusal,
    mangle: impl Fn(&Response) -> String + Send + Sync + 'static,
) -> Module {
    let mangle: Arc<dyn Fn(&Response) -> String + Send + Sync> = Arc::new(mangle);
    let Wrong(id, does, clauses) = wrong;
    Module::new(id, does, "stop: no token request, no session", clauses, move |stage| {
        let mangle = Arc::clone(&mangle);
        Box::pin(async move {
            let response = stage.response().await?;
            refuse_response(stage, refusal, &with_query(&response, mangle(&response))).await
        })
    })
    .reasons(&[refusal.reason])
    .ending(Ending::Silence { after: Endpoint::Authorize, tolerated: &[Endpoint::Jwks] })
}

/// This response must be refused.
pub(super) async fn refuse_response(
    stage: &mut Stage,
    refusal: Refusal,
    response: &Response,
) -> Step {
    let answer = stage.deliver(response).await?;
    refusal.is_told(stage, "login_refused", &answer);
    stage.expect_no_session().await
}

/// The same response with other parameters.
pub(super) fn with_query(response: &Response, query: String) -> Response {
    let base = response.url.split(['?', '#']).next().unwrap_or_default();
    let url = match response.way {
        Way::Query => format!("{base}?{query}"),
        Way::Fragment => format!("{base}#{query}"),
        Way::Form { .. } => response.url.clone(),
    };
    Response { url, query, way: response.way.clone() }
}

/// A token answer that is not believed: one token request, no userinfo request, no session.
pub(super) fn token(wrong: &Wrong<'_>, refusal: Refusal, change: Change) -> Module {
    after_token(wrong, refusal, change, 0)
}

/// The same, and the two tokens that came along are given up (RFC 7009 §2.1).
pub(super) fn token_given_up(wrong: &Wrong<'_>, refusal: Refusal, change: Change) -> Module {
    after_token(wrong, refusal, change, 2)
}

fn after_token(wrong: &Wrong<'_>, refusal: Refusal, change: Change, given_up: usize) -> Module {
    let Wrong(id, does, clauses) = wrong;
    let must = "stop: no session, no second use of the code";
    let module = Module::new(id, does, must, clauses, move |stage| {
        Box::pin(async move {
            let response = stage.response().await?;
            let answer = stage.deliver(&response).await?;
            refusal.is_told(stage, "login_refused", &answer);
            expect_given_up(stage, given_up).await?;
            stage.expect_no_session().await?;
            // Sent back for a nonce, a code is not used yet.
            let events = stage.world.double.events();
            let used = |event: &&Event| {
                event.endpoint == Endpoint::Token && event.outcome != Outcome::Challenged
            };
            let codes = events.iter().filter(used).count();
            stage.check("code_sent_once", &[], codes == 1, format!("{codes} token requests"));
            Ok(())
        })
    })
    .reasons(&[refusal.reason])
    .ending(Ending::Silence {
        after: Endpoint::Token,
        tolerated: &[Endpoint::Jwks, Endpoint::Revocation],
    });
    change.throughout(module)
}

/// So many different tokens reach the revocation endpoint.
pub(super) async fn expect_given_up(stage: &Stage, tokens: usize) -> Step {
    let double = &stage.world.double;
    stage.soon("tokens_given_up", double.wait_for(Endpoint::Revocation, tokens)).await?;
    let events = double.events();
    let revoked: std::collections::BTreeSet<_> = events
        .iter()
        .filter(|event| event.endpoint == Endpoint::Revocation)
        .filter_map(|event| event.form("token"))
        .collect();
    let message = format!("{} tokens were given up, {tokens} expected", revoked.len());
    stage.check("tokens_given_up", &["REV-2.1"], revoked.len() == tokens, message);
    Ok(())
}

/// A login that does not even begin: the browser gets no address and no cookie.
pub(super) fn start(wrong: &Wrong<'_>, refusal: Refusal, change: Change) -> Module {
    let Wrong(id, does, clauses) = wrong;
    let must = "start no login; send the browser nowhere";
    let script =
        Module::new(id, does, must, clauses, move |stage| Box::pin(refuse_start(stage, refusal)));
    let silence = Ending::Silence { after: Endpoint::Par, tolerated: &[] };
    change.throughout(script.reasons(&[refusal.reason]).ending(silence))
}

pub(super) async fn refuse_start(stage: &mut Stage, refusal: Refusal) -> Step {
    let answer = stage.try_start_login().await?;
    refusal.is_told(stage, "login_not_started", &answer);
    let body = String::from_utf8_lossy(&answer.body);
    let sent = answer.location().is_ok() || body.contains("authorization_url");
    stage.check("no_address", &["PAR-2.3"], !sent, "the browser is sent nowhere");
    let held = stage.browser.cookies().iter().any(|(name, _)| name.starts_with(TRANSACTION_COOKIE));
    stage.check("no_transaction", &[], !held, "the browser holds no login under way");
    Ok(())
}

/// What a careful client must not stumble over: the login works, and so does the session.
pub(super) fn taken(right: &Wrong<'_>, change: Change) -> Module {
    let Wrong(id, does, clauses) = right;
    let script =
        Module::new(id, does, "log the user in", clauses, |stage| Box::pin(succeed(stage)));
    change.throughout(script.reasons(&[]))
}

/// A whole login, and a call that reaches the API.
pub(super) async fn succeed(stage: &mut Stage) -> Step {
    stage.login().await?;
    reach_the_api(stage).await
}

/// A call with the session's token that the API takes.
pub(super) async fn reach_the_api(stage: &mut Stage) -> Step {
    let answer = stage.browser.fetch(Call::get("/lab/accounts")).await?;
    stage.expect("api", &answer, 200)
}
