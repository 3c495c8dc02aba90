//! Wallets that are contracts: whether one has signed, only its code on the chain can tell (EIP-1271). One that is not
//! deployed yet says by the signature how it will be (EIP-6492).

use std::time::Duration;

use auth_api::ErrorCode;
use domain::wallet::EthereumAddress;
use domain::wallet::ethereum::{from_hex, to_hex};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use web::ApiError;

/// A node's JSON-RPC interface. Its address is a secret: providers put keys into it.
pub struct EthereumRpc {
    client: Client,
    url: SecretString,
}

/// One call; a sign-in makes two.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Answers are 32 bytes; errors may tell a story.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// `isValidSignature(bytes32,bytes)`, and what it answers with when the signature is right (EIP-1271).
const IS_VALID_SIGNATURE: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// How a signature ends that brings the deployment of its wallet along (EIP-6492).
const COUNTERFACTUAL: [u8; 32] = {
    let mut suffix = [0x64; 32];
    let mut place = 1;
    while place < 32 {
        suffix[place] = 0x92;
        place += 2;
    }
    suffix
};
/// `ValidateSigOffchain` of EIP-6492's reference implementation, compiled as viem 2 ships it. Run as a deployment that
/// is only simulated, it deploys the wallet, asks it, and returns one byte.
const VALIDATOR: &str = include_str!("erc6492_validator.hex");

/// The part of a JSON-RPC 2.0 answer that matters here.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: i64,
    #[serde(default)]
    message: String,
}

impl AnswerError {
    /// Whether the contract refused, as opposed to the node. Nodes agree on the word and not quite on the code.
    fn is_of_the_contract(&self) -> bool {
        self.code == 3 || self.message.to_ascii_lowercase().contains("revert")
    }
}

impl EthereumRpc {
    /// `url` is the node's address. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address is not an HTTP URL.
    pub fn new(url: SecretString) -> Result<Self, &'static str> {
        Url::parse(url.expose_secret())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or("must be a URL such as https://rpc.example.com")?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| "no HTTP client can be made on this machine")?;
        Ok(Self { client, url })
    }

    /// Whether the contract at this address takes the signature for its own. The network of the message has to be the
    /// node's: at the same address on another one there may be somebody else's contract.
    pub(super) async fn has_signed(
        &self,
        chain_id: &str,
        address: &EthereumAddress,
        hash: &[u8; 32],
        signature: &[u8],
    ) -> Result<bool, ApiError> {
        let of_node = self.call("eth_chainId", json!([])).await?.ok_or_else(|| failed(&"no chain id"))?;
        let of_node = of_node.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let of_node = of_node.ok_or_else(|| failed(&"a malformed chain id"))?;
        if of_node.to_string() != chain_id {
            return Ok(false);
        }
        if signature.ends_with(&COUNTERFACTUAL) {
            self.would_have_signed(address, hash, signature).await
        } else {
            self.says_it_has_signed(address, hash, signature).await
        }
    }

    async fn says_it_has_signed(
        &self,
        address: &EthereumAddress,
        hash: &[u8; 32],
        signature: &[u8],
    ) -> Result<bool, ApiError> {
        let data = [&IS_VALID_SIGNATURE[..], hash, &bytes_argument(0x40, signature)].concat();
        let call = json!([{ "to": address.to_string(), "data": to_hex(&data) }, "latest"]);
        let mut yes = [0u8; 32];
        yes[..4].copy_from_slice(&IS_VALID_SIGNATURE);
        // An address without code answers with nothing.
        let answer = self.call("eth_call", call).await?.and_then(|answer| from_hex(&answer));
        Ok(answer.is_some_and(|answer| answer.starts_with(&yes)))
    }

    async fn would_have_signed(
        &self,
        address: &EthereumAddress,
        hash: &[u8; 32],
        signature: &[u8],
    ) -> Result<bool, ApiError> {
        let mut signer = [0u8; 32];
        signer[12..].copy_from_slice(address.as_bytes());
        let arguments = [&signer[..], hash, &bytes_argument(0x60, signature)].concat();
        let data = format!("{}{}", VALIDATOR.trim_end(), &to_hex(&arguments)[2..]);
        let answer = self.call("eth_call", json!([{ "data": data }, "latest"])).await?;
        Ok(answer.and_then(|answer| from_hex(&answer)).is_some_and(|answer| answer == [1]))
    }

    /// The result; `None` when the contract refused.
    async fn call(&self, method: &str, parameters: Value) -> Result<Option<String>, ApiError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        let request = self.client.post(self.url.expose_secret()).json(&body);
        let response = request.send().await.map_err(|error| failed(&error.without_url()))?;
        let status = response.status();
        let bytes = read(response).await?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| failed(&format_args!("{status}, and no JSON-RPC")))?;
        match answer {
            Answer { error: Some(error), .. } if error.is_of_the_contract() => Ok(None),
            Answer { error: Some(error), .. } => Err(failed(&format_args!("error {}", error.code))),
            Answer { result: Some(result), .. } => Ok(Some(result)),
            Answer { .. } => Err(failed(&format_args!("{status}, and neither result nor error"))),
        }
    }
}

/// The body, up to the limit.
async fn read(mut response: Response) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error.without_url()))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(failed(&"an endless answer"));
        }
    }
    Ok(bytes)
}

/// A last argument of type `bytes` in Solidity's ABI: where it begins, how long it is, itself, zeros up to a whole word.
fn bytes_argument(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let padding = bytes.len().next_multiple_of(32) - bytes.len();
    [&word(offset)[..], &word(bytes.len()), bytes, &vec![0; padding]].concat()
}

fn word(number: usize) -> [u8; 32] {
    let mut word = [0u8; 32];
    word[24..].copy_from_slice(&(number as u64).to_be_bytes());
    word
}

fn failed(cause: &dyn std::fmt::Display) -> ApiError {
    tracing::warn!(%cause, "the Ethereum node failed");
    ApiError::new(ErrorCode::ProviderError, "The wallet's contract could not be asked; try again shortly")
}
