//! Signing in with a wallet.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// `POST /auth/wallet/challenge`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WalletChallengeRequest {
    /// Ethereum: 0x and 40 hexadecimal digits. Solana: base58 of 32 bytes.
    pub address: String,
    /// Ethereum: the network's number, 1 when absent. Solana: a cluster, `mainnet` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub chain_id: Option<WalletChainId>,
}

/// A network as clients write it: a number or a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalletChainId(pub String);

impl<'de> Deserialize<'de> for WalletChainId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = WalletChainId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of an Ethereum network or the name of a Solana cluster")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WalletChainId, E> {
                Ok(WalletChainId(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WalletChainId, E> {
                Ok(WalletChainId(text.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

/// What the wallet is to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WalletChallengeReply {
    /// Always true.
    pub success: bool,
    /// The whole message, to be signed as it is: EIP-4361, or Solana's form of it.
    pub message: String,
    /// The nonce in it.
    pub nonce: String,
    /// Seconds for which it works.
    pub expires_in: u64,
}

/// `POST /auth/wallet/verify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WalletVerifyRequest {
    /// The address that the challenge was made for.
    pub address: String,
    /// The challenge's message.
    pub message: String,
    /// Ethereum: hexadecimal, of `personal_sign`. Solana: base58 or base64, of `signMessage`.
    pub signature: String,
}
