//! Traefik and Envoy, which Debian does not have: their recipes are read, and what each line does is what the
//! documentation says it does. The tricks are those of the other proxies.

use serde_json::{Value, json};
use testkit::free_port;

use super::attack::may_be_write;
use super::tricks::{BELIEVED, IDENTITY, ODD, TARGETS, spellings};
use super::upstreams::send;
use super::{Guarded, Proxy, recipe};

fn read(name: &str) -> Value {
    serde_saphyr::from_str(&recipe(name)).unwrap()
}

/// Every line is there for a reason.
fn says(recipe: &Value, lines: &[(&str, Value, &str)]) {
    for (pointer, expected, reason) in lines {
        assert_eq!(recipe.pointer(pointer), Some(expected), "{pointer}: {reason}");
    }
}

fn texts<'r>(list: &'r Value, field: &str) -> Vec<&'r str> {
    list.as_array().unwrap().iter().filter_map(|one| one.pointer(field)?.as_str()).collect()
}

fn is_odd(name: &str) -> bool {
    name.contains(|letter| ODD.contains(letter))
}

/// <https://doc.traefik.io/traefik/reference/routing-configuration/http/middlewares/forwardauth/>, that of
/// `headers` beside it, and
/// <https://doc.traefik.io/traefik/security/header-aliases/>
#[test]
fn traefik() {
    let text = recipe("traefik.yaml");
    let traefik = read("traefik.yaml");
    let strategy = "--entrypoints.web.http.aliasHeadersStrategy=delete";
    assert!(text.contains(strategy), "any name with another character than letters, digits and `-` is removed");
    assert!(!text.contains("insecure") && !text.contains("trustedIPs"), "or the client's X-Forwarded-* would stay");
    for guard in ["guarded", "guarded-write"] {
        let of = |field: &str| format!("/http/middlewares/{guard}/forwardAuth/{field}");
        says(
            &traefik,
            &[
                (&of("trustForwardHeader"), json!(false), "true would take X-Forwarded-Uri from the client"),
                (
                    &of("authResponseHeadersRegex"),
                    json!("^X-Auth-"),
                    "all that match are removed, then the reply's are set",
                ),
            ],
        );
        let forward_auth = traefik.pointer(&format!("/http/middlewares/{guard}/forwardAuth")).unwrap();
        assert_eq!(
            forward_auth.get("authRequestHeaders"),
            None,
            "a list would keep the credential from the auth service"
        );
        assert_eq!(forward_auth.get("authResponseHeaders"), None, "one of the two names what is copied");
    }
    says(
        &traefik,
        &[
            ("/http/middlewares/guarded/forwardAuth/address", json!("http://127.0.0.1:3001/forward-auth"), "no scope"),
            (
                "/http/middlewares/guarded-write/forwardAuth/address",
                json!("http://127.0.0.1:3001/forward-auth?scope=projects:write"),
                "the scope of the path",
            ),
            ("/http/routers/write/rule", json!("PathRegexp(`(?i)^/projects/write`)"), "PathPrefix minds the case"),
            ("/http/routers/write/middlewares", json!(["cors", "guarded-write", "clean"]), "in this order"),
            ("/http/routers/all/middlewares", json!(["cors", "guarded", "clean"]), "in this order"),
            (
                "/http/middlewares/cors/headers/accessControlAllowOriginList",
                json!(["https://app.example.com"]),
                "preflights are answered by this middleware, and go no further",
            ),
        ],
    );
    assert!(traefik["http"]["routers"].as_object().unwrap().len() == 2, "no way around");
    assert!(
        traefik.pointer("/http/routers/write/priority").unwrap().as_u64()
            > traefik.pointer("/http/routers/all/priority").unwrap().as_u64()
    );

    let removed = traefik.pointer("/http/middlewares/clean/headers/customRequestHeaders").unwrap().as_object().unwrap();
    assert!(removed.values().all(|value| value == ""), "an empty value removes the field");
    assert!(removed.contains_key("Authorization"), "the API needs no copy");
    let is_removed = |name: &str| {
        let name = name.to_ascii_lowercase();
        is_odd(&name)
            || name.starts_with("x-auth-")
            // The entry point removes those of a client that it does not trust, and writes them anew.
            || name.starts_with("x-forwarded-")
            || name == "x-real-ip"
            || removed.keys().any(|removed| removed.eq_ignore_ascii_case(&name))
    };
    for name in IDENTITY.iter().chain(&BELIEVED).flat_map(|name| spellings(name)) {
        assert!(is_removed(&name), "{name}");
    }
}

/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter>, those of
/// `cors` and `header_mutation` beside it, and the connection manager's protocol buffers.
#[test]
fn envoy() {
    let envoy = read("envoy.yaml");
    let manager = envoy.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap();
    says(
        manager,
        &[
            ("/use_remote_address", json!(true), "X-Forwarded-Proto and x-envoy-* are then not the client's"),
            (
                "/common_http_protocol_options/headers_with_underscores_action",
                json!("DROP_HEADER"),
                "the default is ALLOW",
            ),
            ("/normalize_path", json!(true), "dot segments are resolved, %00 is refused"),
            ("/merge_slashes", json!(true), "not part of normalize_path"),
            ("/path_with_escaped_slashes_action", json!("REJECT_REQUEST"), "%2F and %5C, which the default keeps"),
            (
                "/upgrade_configs",
                json!([{ "upgrade_type": "websocket" }]),
                "any other upgrade is refused; with none, all are",
            ),
            ("/route_config/virtual_hosts/0/routes/0/request_headers_to_remove", json!(["authorization"]), "no copy"),
        ],
    );
    let filters = &manager["http_filters"];
    let order = ["header_mutation", "cors", "ext_authz", "router"].map(|name| format!("envoy.filters.http.{name}"));
    assert_eq!(texts(filters, "/name"), order, "filters run in order: clean, answer preflights, ask, pass on");

    let mutations = filters.pointer("/0/typed_config/mutations/request_mutations").unwrap();
    let regex = mutations.pointer("/0/remove_on_match/key_matcher/safe_regex/regex").unwrap();
    assert_eq!(regex, "[a-z0-9-]*[!#$%&'*+.^_`|~].*", "the whole name has to match, and keys are in small letters");
    let prefixes = texts(mutations, "/remove_on_match/key_matcher/prefix");
    let removed = texts(mutations, "/remove");
    let written: Vec<&Value> = mutations.as_array().unwrap().iter().filter_map(|one| one.get("append")).collect();
    assert_eq!(
        written,
        [&json!({ "header": { "key": "x-forwarded-for", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" },
                  "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" })],
        "Envoy itself appends to what the client says"
    );
    let is_removed = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.contains(|letter| {
            regex.as_str().unwrap().split_once("*[").unwrap().1.contains(letter) && ODD.contains(letter)
        }) || prefixes.iter().any(|prefix| name.starts_with(prefix))
            || removed.contains(&name.as_str())
            || name == "x-forwarded-for"
            || name == "x-forwarded-proto"
    };
    for name in IDENTITY.iter().chain(&BELIEVED).flat_map(|name| spellings(name)) {
        assert!(is_removed(&name), "{name}");
    }

    let ask = filters.pointer("/2/typed_config").unwrap();
    says(
        ask,
        &[
            ("/failure_mode_allow", json!(false), "closed while the auth service is down"),
            ("/http_service/path_prefix", json!("/forward-auth?uri="), "the client's path and query come after it"),
            (
                "/http_service/authorization_response/allowed_upstream_headers/patterns",
                json!([{ "prefix": "x-auth-", "ignore_case": true }]),
                "these replace what the request has",
            ),
        ],
    );
    let asked = ask.pointer("/http_service/authorization_request/allowed_headers/patterns").unwrap();
    assert!(texts(asked, "/exact").contains(&"x-forwarded-for"), "the address, which allow-lists and limits need");
    let shown = ask.pointer("/http_service/authorization_response/allowed_client_headers/patterns").unwrap();
    for name in ["www-authenticate", "retry-after", "content-type", "x-request-id"] {
        assert!(texts(shown, "/exact").contains(&name), "{name} of a refusal reaches the client");
    }
    let cors = manager.pointer("/route_config/virtual_hosts/0/typed_per_filter_config/envoy.filters.http.cors");
    let origins = cors.unwrap().pointer("/allow_origin_string_match").unwrap();
    assert_eq!(
        texts(origins, "/exact"),
        ["https://app.example.com"],
        "others' preflights are refused for want of a credential"
    );
}

/// Of what their rules do not see, both tell the auth service: Traefik by X-Forwarded-Uri, Envoy behind `uri=`.
#[tokio::test]
async fn a_path_that_goes_past_a_rule_is_refused_by_the_auth_service() {
    let guarded = Guarded::start(&Proxy::NGINX, free_port(), &[("RATE_LIMIT_TOKEN_PER_MINUTE", "1000000")]).await;
    let (token, _) = guarded.token(&["projects:read"]).await;
    let auth: u16 = guarded.installation.auth_url.rsplit(':').next().unwrap().parse().unwrap();
    let ask = async |target: &str, line: &str| {
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{line}\r\n"
        );
        send(auth, text.as_bytes()).await.status
    };
    assert_eq!(ask("/forward-auth", "X-Forwarded-Uri: /projects?a=//\r\n").await, 200);
    assert_eq!(ask("/forward-auth?uri=/projects?a=//", "").await, 200);
    for target in TARGETS {
        assert!(may_be_write(target), "{target} is no trick");
        let is_matched = target.to_ascii_lowercase().starts_with("/projects/write");
        let by_header = ask("/forward-auth", &format!("X-Forwarded-Uri: {target}\r\n")).await;
        assert!(by_header == 400 || is_matched, "{target}: {by_header}");
        let by_query = ask(&format!("/forward-auth?uri={target}"), "").await;
        assert!(by_query == 400 || is_matched, "{target}: {by_query}");
    }
}
