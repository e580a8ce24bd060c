//! Owns how a login under way is kept in the browser: sealed, bound to its cookie's name and app,
//! found again by `state`, used once. Must not know: what the answer says.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use zeroize::Zeroizing;

use super::{Login, LoginFailure};
use crate::{
    jose::KeySeed,
    protocol::{Prover, Transaction},
    seal::KeyId,
};

/// Seconds a used transaction is remembered after its end: another instance's clock may be behind.
const REMEMBERED: i64 = 60;
const NO_KEY: LoginFailure = LoginFailure::Internal { reason: "internal.no_key" };

/// One transaction as it came in a cookie: its id from the cookie's name, and the sealed text.
#[derive(Clone, Copy, Debug)]
pub struct SealedTransaction<'a> {
    /// The part of the cookie's name that names the transaction.
    pub id: &'a str,
    /// The cookie's value.
    pub sealed: &'a str,
}

/// The id of the transaction with this `state`: a digest, so that the name of a cookie gives the
/// `state` away to nobody, and an answer finds its cookie without opening the others.
pub(super) fn transaction_id(state: &str) -> String {
    let digest = digest(&SHA256, state.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}

impl Login {
    /// What the key of this login's tokens is made from: found again at its end, and in no cookie
    /// (DPOP-11). It is of the server key that seals the transaction: another may be active by the end.
    pub(super) fn key_seed(&self, by: KeyId, id: &str) -> Result<KeySeed, LoginFailure> {
        let key = self.key_seeds.get(by).ok_or(NO_KEY)?;
        Ok(KeySeed::new(Zeroizing::new(key.hash(&[self.app.as_bytes(), id.as_bytes()]))))
    }

    /// Proves possession of the key that this login's tokens are bound to, where they are to be.
    pub(super) fn prover(&self, by: KeyId, id: &str) -> Result<Option<Prover>, LoginFailure> {
        if !self.provider.binds_to_key() {
            return Ok(None);
        }
        self.provider.prover(&self.key_seed(by, id)?).map(Some).map_err(|_| NO_KEY)
    }

    fn transaction_context(&self, id: &str) -> Vec<u8> {
        // Bound to app and cookie name: sealed text moved elsewhere does not open.
        format!("transaction\0{}\0{id}", self.app).into_bytes()
    }

    pub(super) fn seal_transaction(
        &self,
        transaction: &Transaction,
    ) -> Result<String, LoginFailure> {
        let internal = |_| LoginFailure::Internal { reason: "internal.seal_failed" };
        let plain = zeroize::Zeroizing::new(
            serde_json::to_vec(transaction)
                .map_err(|_| LoginFailure::Internal { reason: "internal.seal_failed" })?,
        );
        let sealed = self
            .transaction_seal
            .seal(&self.transaction_context(&transaction.id), &plain)
            .map_err(internal)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a cookie's transaction, and tells which server key sealed it; `None` for anything we did not
    /// seal for this app and name.
    pub(super) fn open_transaction(
        &self,
        from: SealedTransaction<'_>,
    ) -> Option<(KeyId, Transaction)> {
        let sealed = URL_SAFE_NO_PAD.decode(from.sealed).ok()?;
        let context = self.transaction_context(from.id);
        let (by, plain) = self.transaction_seal.open(&context, &sealed).ok()?;
        let transaction: Transaction = serde_json::from_slice(&plain).ok()?;
        (transaction.id == from.id).then_some((by, transaction))
    }

    /// Consumes the transaction, exactly once across all instances that share the store
    /// (FAPI2-SP-6.4, BCP-4.2.4).
    pub(super) async fn consume(&self, transaction: &Transaction) -> Result<(), LoginFailure> {
        let what: [&[u8]; 3] = [b"transaction", self.app.as_bytes(), transaction.id.as_bytes()];
        match self.sessions.consume_once(&what, transaction.expires.plus(REMEMBERED)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(LoginFailure::Transaction { reason: "transaction.already_used" }),
            Err(_) => Err(LoginFailure::StoreUnavailable),
        }
    }
}
