//! What a wallet is asked to sign: EIP-4361 "Sign-In with Ethereum", and Solana's form of it.

use std::fmt;

use super::{Chain, WalletAddress};
use crate::Timestamp;

/// Which of its chains' networks a sign-in names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainId(String);

/// Text that names no network of the address's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainIdError {
    /// Not what EIP-155 numbers networks with.
    #[error("must be the number of an Ethereum network, such as 1")]
    Ethereum,
    /// Not one of Solana's clusters.
    #[error("must be mainnet, testnet, devnet or localnet")]
    Solana,
}

/// The largest whole number that every JSON reader keeps (RFC 8259 §6).
const MAX_CHAIN_ID: u64 = (1 << 53) - 1;
const CLUSTERS: [&str; 4] = ["mainnet", "testnet", "devnet", "localnet"];

impl ChainId {
    /// The network called `text`, or the chain's main one.
    pub fn new(chain: Chain, text: Option<&str>) -> Result<Self, ChainIdError> {
        match chain {
            Chain::Ethereum => {
                let text = text.unwrap_or("1");
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u64>().ok().filter(|number| is_number && (1..=MAX_CHAIN_ID).contains(number));
                // Written anew: without leading zeros.
                number.map(|number| Self(number.to_string())).ok_or(ChainIdError::Ethereum)
            }
            Chain::Solana => {
                let text = text.unwrap_or("mainnet");
                let name = text.strip_prefix("solana:").unwrap_or(text);
                if CLUSTERS.contains(&name) { Ok(Self(text.to_owned())) } else { Err(ChainIdError::Solana) }
            }
        }
    }

    /// The id as it is in the message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that proves, signed, that somebody has the wallet and means this site.
///
/// The fields have been checked where they come from: `domain` is an RFC 3986 authority, `uri` a URI, `statement` has
/// none but the characters that [`is_statement`](Self::is_statement) allows, `nonce` at least 8 letters and digits.
#[derive(Debug, Clone)]
pub struct SignInMessage<'a> {
    /// The site that asks; wallets compare it with the page they are on.
    pub domain: &'a str,
    /// Who signs.
    pub address: &'a WalletAddress,
    /// What the person reads.
    pub statement: &'a str,
    /// What the signature is for.
    pub uri: &'a str,
    /// The network.
    pub chain_id: &'a ChainId,
    /// Makes the message one of a kind.
    pub nonce: &'a str,
    /// Now.
    pub issued_at: Timestamp,
    /// From when on the signature is worthless.
    pub expires_at: Timestamp,
}

impl SignInMessage<'_> {
    /// EIP-4361's `statement`: RFC 3986's reserved and unreserved characters and spaces.
    #[must_use]
    pub fn is_statement(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;= ".contains(&byte);
        !text.is_empty() && text.bytes().all(allowed)
    }
}

impl fmt::Display for SignInMessage<'_> {
    /// EIP-4361's ABNF; Solana's differs in one word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = match self.address.chain() {
            Chain::Ethereum => "Ethereum",
            Chain::Solana => "Solana",
        };
        write!(
            f,
            "{} wants you to sign in with your {chain} account:\n{}\n\n{}\n\nURI: {}\nVersion: 1\nChain ID: {}\n\
             Nonce: {}\nIssued At: {}\nExpiration Time: {}",
            self.domain,
            self.address,
            self.statement,
            self.uri,
            self.chain_id.as_str(),
            self.nonce,
            self.issued_at,
            self.expires_at,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(address: &str, chain_id: Option<&str>) -> String {
        let address: WalletAddress = address.parse().unwrap();
        SignInMessage {
            domain: "example.com",
            address: &address,
            statement: "I accept the ExampleOrg Terms of Service: https://example.com/tos",
            uri: "https://example.com/login",
            chain_id: &ChainId::new(address.chain(), chain_id).unwrap(),
            nonce: "32891756",
            issued_at: "2021-09-30T16:25:24Z".parse().unwrap(),
            expires_at: "2021-09-30T16:40:24Z".parse().unwrap(),
        }
        .to_string()
    }

    /// EIP-4361's own example, with the expiry that ours always have and without resources.
    #[test]
    fn a_message_is_what_eip_4361_has() {
        assert_eq!(
            message("0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2", Some("1")),
            "example.com wants you to sign in with your Ethereum account:\n\
             0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2\n\
             \n\
             I accept the ExampleOrg Terms of Service: https://example.com/tos\n\
             \n\
             URI: https://example.com/login\n\
             Version: 1\n\
             Chain ID: 1\n\
             Nonce: 32891756\n\
             Issued At: 2021-09-30T16:25:24.000Z\n\
             Expiration Time: 2021-09-30T16:40:24.000Z"
        );
    }

    #[test]
    fn solanas_form_differs_in_a_word_and_the_network() {
        let message = message("9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM", None);
        assert!(message.starts_with(
            "example.com wants you to sign in with your Solana account:\n\
             9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM\n\n"
        ));
        assert!(message.contains("\nVersion: 1\nChain ID: mainnet\nNonce: "));
    }

    #[test]
    fn networks_are_of_the_addresss_chain() {
        let id = |chain, text| ChainId::new(chain, text).map(|id| id.as_str().to_owned());
        assert_eq!(id(Chain::Ethereum, None), Ok("1".to_owned()));
        assert_eq!(id(Chain::Ethereum, Some("0137")), Ok("137".to_owned()));
        assert_eq!(id(Chain::Ethereum, Some("9007199254740991")), Ok("9007199254740991".to_owned()));
        for text in ["0", "-1", "+1", "1.5", "", " 1", "mainnet", "9007199254740992", "1\nNonce: 1", "१"] {
            assert_eq!(id(Chain::Ethereum, Some(text)), Err(ChainIdError::Ethereum), "{text:?}");
        }
        assert_eq!(id(Chain::Solana, None), Ok("mainnet".to_owned()));
        assert_eq!(id(Chain::Solana, Some("solana:devnet")), Ok("solana:devnet".to_owned()));
        for text in ["1", "", "Mainnet", "solana:", "mainnet\nNonce: 1"] {
            assert_eq!(id(Chain::Solana, Some(text)), Err(ChainIdError::Solana), "{text:?}");
        }
    }

    #[test]
    fn statements_cannot_break_out_of_their_line() {
        assert!(SignInMessage::is_statement("Sign in. It costs nothing."));
        for text in ["", "a\nb", "ä", "a\"b", "a\0"] {
            assert!(!SignInMessage::is_statement(text), "{text:?}");
        }
    }
}
