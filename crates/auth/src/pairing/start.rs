//! A program asks to be let in.

use domain::{ClientInfo, OneTimeSecret, PairingId, Scopes, TokenName, UserCode};
use store::NewPairing;
use web::ApiError;

use super::{LIFETIME, page_url, poll_digest};
use crate::{AuthService, internal};

/// What the program gets to know.
pub(crate) struct Started {
    pub(crate) id: PairingId,
    pub(crate) poll_secret: OneTimeSecret,
    pub(crate) user_code: UserCode,
    /// The page that asks for a user code.
    pub(crate) page: String,
    /// The page of this pairing.
    pub(crate) pairing_page: String,
}

/// What a program is called that does not say.
const DEFAULT_NAME: &str = "CLI";
/// With 20⁸ codes, drawing one that is taken this often in a row means that something else is wrong.
const DRAWS: usize = 5;

/// Begins a pairing.
pub(crate) async fn start(
    auth: &AuthService,
    client: &ClientInfo,
    name: Option<TokenName>,
    scopes: Option<Scopes>,
) -> Result<Started, ApiError> {
    let at = auth.clock.now();
    let name = name.map_or_else(|| DEFAULT_NAME.parse(), Ok).map_err(|error| ApiError::internal(&error))?;
    let scopes = scopes.unwrap_or_else(Scopes::all);
    for _ in 0..DRAWS {
        let (id, poll_secret, user_code) =
            auth.chance.with(|rng| (PairingId::generate(rng), OneTimeSecret::generate(rng), UserCode::generate(rng)));
        let new = NewPairing {
            poll_digest: poll_digest(auth, &id, poll_secret.expose()),
            id,
            user_code,
            name: name.clone(),
            scopes: scopes.clone(),
            client: client.clone(),
            at,
            expires_at: at.plus(LIFETIME),
        };
        if auth.store.start_pairing(&new).await.map_err(internal)? {
            let page = format!("{}/login", auth.config.public_url.as_str().trim_end_matches('/'));
            let pairing_page = page_url(auth, &new.id);
            return Ok(Started { id: new.id, poll_secret, user_code: new.user_code, page, pairing_page });
        }
    }
    Err(ApiError::internal(&"every user code that was drawn is taken"))
}
