//! Wallets: addresses, the messages that they sign, and who signed one. No I/O.

pub mod ethereum;
mod message;
mod solana;

use std::fmt;
use std::str::FromStr;

pub use self::ethereum::EthereumAddress;
pub use self::message::{ChainId, ChainIdError, SignInMessage};
pub use self::solana::SolanaAddress;

/// A kind of wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Ethereum and every chain that has its addresses.
    Ethereum,
    /// Solana.
    Solana,
}

impl Chain {
    /// The chain's name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ethereum => "ethereum",
            Self::Solana => "solana",
        }
    }
}

/// A wallet's address. It has one spelling, the one that [`Display`](fmt::Display) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalletAddress {
    /// 20 bytes, written as EIP-55 has it.
    Ethereum(EthereumAddress),
    /// An ed25519 public key, written in base58.
    Solana(SolanaAddress),
}

/// Text that is no address of a wallet that can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalletAddressError {
    /// Neither form.
    #[error("must be an Ethereum address (0x and 40 hexadecimal digits) or a Solana address (base58 of 32 bytes)")]
    Malformed,
    /// An Ethereum address in mixed case whose case is not that of EIP-55, so probably mistyped.
    #[error("has a wrong checksum: check it for typing errors")]
    Checksum,
}

impl WalletAddress {
    /// The kind of wallet.
    #[must_use]
    pub const fn chain(&self) -> Chain {
        match self {
            Self::Ethereum(_) => Chain::Ethereum,
            Self::Solana(_) => Chain::Solana,
        }
    }
}

impl FromStr for WalletAddress {
    type Err = WalletAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No base58 text begins like this: 0 is not in its alphabet.
        if text.starts_with("0x") || text.starts_with("0X") {
            text.parse().map(Self::Ethereum)
        } else {
            text.parse().map(Self::Solana)
        }
    }
}

impl fmt::Display for WalletAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethereum(address) => address.fmt(f),
            Self::Solana(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_the_other() {
        let chain = |text: &str| text.parse::<WalletAddress>().map(|address| address.chain());
        assert_eq!(chain("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"), Ok(Chain::Ethereum));
        assert_eq!(chain("9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"), Ok(Chain::Solana));
        for text in ["", "0x", "ann@example.com", "0", "d8dA6BF26964aF9D7eEd9e03E53415D37aA96045", "ä", "\0"] {
            assert_eq!(chain(text), Err(WalletAddressError::Malformed), "{text:?}");
        }
    }
}
