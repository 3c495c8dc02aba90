//! Reading JWTs (RFC 7519): the one place where a signature is checked, for all keys.

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;

/// The claims of a JWT that this key has signed by this algorithm, whatever its header says. What they say, and whether
/// their time has come, is the caller's question: the library would ask the machine's clock.
pub(super) fn read<T: DeserializeOwned>(jwt: &str, algorithm: Algorithm, key: &DecodingKey) -> Result<T, Error> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let read = jsonwebtoken::decode(jwt, key, &validation)?;
    // RFC 7515 §4.1.11: whoever does not know what a header calls critical has to refuse it. The library knows of none
    // and ignores them.
    if read.header.crit.is_some() {
        return Err(ErrorKind::InvalidToken.into());
    }
    Ok(read.claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
    use serde_json::{Value, json};

    use super::*;

    fn groups(json: &str) -> Vec<Value> {
        serde_json::from_str(json).unwrap()
    }

    fn tests(group: &Value) -> &[Value] {
        group["tests"].as_array().unwrap()
    }

    fn hex(value: &Value) -> Vec<u8> {
        domain::wallet::ethereum::from_hex(value.as_str().unwrap()).unwrap()
    }

    fn hs256(key: &Value) -> DecodingKey {
        DecodingKey::from_secret(&BASE64URL.decode(key["k"].as_str().unwrap()).unwrap())
    }

    /// The signature is right; what is signed need be no claims.
    fn is_signed(jws: &str, key: &DecodingKey) -> bool {
        match read::<Value>(jws, Algorithm::HS256, key) {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::Json(_)) && jsonwebtoken::decode_header(jws).is_ok(),
        }
    }

    #[test]
    fn wycheproofs_json_web_signatures() {
        // 367 and 370 are "invalid" for a padding that they have lost: they are 357, which is right. 372 and 373 are
        // "valid", though the character that was put in is in no alphabet and the tag does not cover it.
        const MISTAKEN: [u64; 4] = [367, 370, 372, 373];
        let groups = groups(include_str!("../../tests/published/wycheproof_json_web_signature_hs256.json"));
        let mut count = 0;
        for group in &groups {
            let key = hs256(&group["key"]);
            for test in tests(group) {
                let is_right = (test["result"] == "valid") != MISTAKEN.contains(&test["tcId"].as_u64().unwrap());
                assert_eq!(is_signed(test["jws"].as_str().unwrap(), &key), is_right, "{test}");
                count += 1;
            }
        }
        assert_eq!(count, 43);
    }

    /// RFC 7515, appendix A.1.
    #[test]
    fn rfc_7515s_example_of_hs256() {
        let jwt = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                   cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = hs256(&json!({
            "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
        }));
        let claims: Value = read(jwt, Algorithm::HS256, &key).unwrap();
        assert_eq!(claims, json!({ "iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": true }));
        for algorithm in [Algorithm::HS384, Algorithm::HS512, Algorithm::EdDSA] {
            read::<Value>(jwt, algorithm, &key).unwrap_err();
        }
    }

    /// RFC 7515, appendix A.5 and E: without a signature, and with a critical header that nobody knows.
    #[test]
    fn rfc_7515s_unsecured_examples_are_refused() {
        let key = DecodingKey::from_secret(b"");
        for jwt in [
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0\
             cnVlfQ.",
            "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9V\
             TkRFRklORUQiOnRydWUNCn0.RkFJTA.",
        ] {
            read::<Value>(jwt, Algorithm::HS256, &key).unwrap_err();
        }
    }

    /// The library's two algorithms that we rely on, bit by bit.
    #[test]
    fn wycheproofs_ed25519_and_hmac() {
        let is_right = |signature: &Value, message: &Value, key: &DecodingKey, algorithm| {
            jsonwebtoken::crypto::verify(&BASE64URL.encode(hex(signature)), &hex(message), key, algorithm).unwrap()
        };
        for group in groups(include_str!("../../../domain/tests/published/wycheproof_ed25519.json")) {
            let key = DecodingKey::from_ed_components(&BASE64URL.encode(hex(&group["publicKey"]))).unwrap();
            for test in tests(&group) {
                let is_right = is_right(&test["sig"], &test["msg"], &key, Algorithm::EdDSA);
                assert_eq!(is_right, test["result"] == "valid", "{test}");
            }
        }
        for group in groups(include_str!("../../../domain/tests/published/wycheproof_hmac_sha256.json")) {
            for test in tests(&group) {
                let key = DecodingKey::from_secret(&hex(&test["key"]));
                let is_right = is_right(&test["tag"], &test["msg"], &key, Algorithm::HS256);
                // Tags that are cut short are none of HS256's (RFC 7518 §3.2).
                assert_eq!(is_right, test["result"] == "valid" && group["tagSize"] == 256, "{test}");
            }
        }
    }
}
