//! What is kept: the database behind the auth service.
//!
//! Every change of state is one method of [`Store`] that runs one transaction and commits the audit events of the
//! change together with it; where a method takes a [`NewEvent`], the event's time is the time of the change. A miss is
//! `None` or an outcome, which the caller names; [`StoreError`] means that the database is broken or away. Whose a row
//! is, is part of the query that finds it, so somebody else's is a miss.
//!
//! One SQL text serves SQLite and PostgreSQL: `$1` placeholders, TEXT and BIGINT columns, `UPDATE` of a row where a
//! lock is due, no advisory locks.

mod accounts;
mod audit;
mod chain;
mod codes;
mod copy;
mod deletion;
mod error;
mod exchange;
mod factor_care;
mod flows;
mod guesses;
mod housekeeping;
mod imports;
mod instances;
mod known_devices;
mod leaks;
mod link_codes;
mod links;
mod mail_links;
mod messages;
mod method_changes;
mod methods;
mod migrate;
mod notices;
mod oauth;
mod oauth_proofs;
mod open;
mod operators;
mod owed_marks;
mod pairing_forms;
mod pairings;
mod postgres;
mod reader;
mod reauthentications;
mod rotations;
mod rows;
mod schema;
mod seals;
mod second_factor;
mod sessions;
mod shares;
mod shown;
mod sign_in;
mod signing_keys;
mod sqlite;
mod sqlite_readers;
mod step_up;
mod token_lookups;
mod token_secrets;
mod token_uses;
mod tokens;
mod transaction;
mod undo;
mod users;
mod wal;
mod wallets;
mod windows;

pub use accounts::{CredentialCounts, ProfileChange};
pub use audit::{Cursor, Event, EventPage, MalformedCursor, NewEvent};
pub use chain::{AuditBacklog, ChainPlace, ChainProblem, ChainReport, Tampering};
pub use codes::{CodeOutcome, CodePurpose, ENOUGH_TIME, KeptCode, NewCode, Redemption};
pub use copy::{CopyOutcome, CopyProgress};
pub use deletion::Deletion;
pub use error::StoreError;
pub use exchange::{ExchangeOutcome, NewExchangeCode};
pub use factor_care::FactorStatus;
pub use flows::{Flow, GUARDED_FOR, GUESSES_COUNT_FOR, GUESSES_PER_CODE, GUESSES_PER_FLOW, GUESSES_PER_YEAR};
pub use guesses::{GuessCounts, TOTP_GUESSES_PER_YEAR};
pub use imports::{Import, ImportOutcome, OlderSecret, OlderSecretPlace};
pub use instances::{RoundBy, Seen};
pub use leaks::LeakRemedy;
pub use link_codes::{LinkCodeOutcome, LinkGuess, NewLinkCode};
pub use links::{LinkSecret, TradedLink};
pub use mail_links::MailLink;
pub use messages::{Allowance, Allowed, Channel, Share};
pub use method_changes::UnlinkOutcome;
pub use methods::{AuthMethod, LinkOutcome, NewLink};
pub use notices::{Addressee, Attempt, ClaimedNotices, NewClaim, Notice};
pub use oauth::{NewOAuthLink, NewOAuthState, OAuthErrand, OAuthState};
pub use oauth_proofs::{NewOAuthProof, ProofFor, ProofPurpose};
pub use open::{ForeignWrites, Options, Store};
pub use operators::{DisableOutcome, NewUser, NewUserOutcome};
pub use owed_marks::{MarkedCredential, OwedMark};
pub use pairing_forms::{FormOutcome, FormSignIn, NewPairingForm};
pub use pairings::{Approval, Decision, DecisionOutcome, MintOutcome, NewPairing, Pairing, PairingStatus, PollOutcome};
pub use reauthentications::{NewReauthFlow, ReauthCode, ReauthOutcome, Reauthentication};
pub use rotations::{RotationOutcome, RotationTerms};
pub use seals::{ForeignSeal, SealedIn};
pub use second_factor::{Factor, Guessed, MfaAttempt, MfaOutcome, SecondProof};
pub use sessions::{NewSession, Refresh, RefreshOutcome, Session};
pub use shown::Shown;
pub use sign_in::{MethodType, NewMfaChallenge, NewSignIn, Profile, SignInOutcome, SignedIn, WayIn};
pub use signing_keys::SigningKey;
pub use step_up::{ProofTooOld, StepUp};
pub use token_secrets::{FoundToken, SecretTrace, TokenOwner, TokenSecret};
pub use token_uses::{NOTED_PER_DAY, TokenUse};
pub use tokens::{CreationLimits, CreationOutcome, CreationState, NewToken, NewTokenSecret, Token};
pub use undo::SecureOutcome;
pub use users::User;
pub use wallets::{FoundChallenge, WalletChallenge, WalletPurpose};
pub use windows::{StoredWindow, WindowRun};
