//! The one list of tricks by which a client tries to be somebody else, or somewhere else, behind a guard.

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Ann, whose token has the scope `projects:read` and not `projects:write`.
    Ann,
    /// Somebody without a credential.
    Nobody,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Trick {
    pub(crate) by: By,
    pub(crate) name: String,
    /// As it goes over the wire; `TOKEN` is Ann's.
    pub(crate) text: String,
}

/// What a guard vouches for, and what else an API might believe that only the proxy can know.
pub(crate) const IDENTITY: [&str; 4] = ["X-Auth-User-Id", "X-Auth-Token-Id", "X-Auth-Kind", "X-Auth-Scopes"];
pub(crate) const BELIEVED: [&str; 18] = [
    "X-Auth-Reason",
    "X-Auth-Email",
    "X-Auth-Name",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit",
    "RateLimit-Policy",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Real-IP",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Proxy",
];

/// The characters other than letters, digits and `-` that a field's name may have (RFC 9110 §5.6.2). CGI makes `_` of
/// some of them or of all.
pub(crate) const ODD: &str = "_.!#$%&'*+^`|~";

/// Other spellings of a field's name that some server takes for the same.
pub(crate) fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()];
    let odd = if name == IDENTITY[0] { ODD } else { "_." };
    for odd in odd.chars().map(String::from) {
        all.push(name.replace('-', &odd));
        all.push(name.replacen('-', &odd, 1));
        if let Some((first, last)) = name.rsplit_once('-') {
            all.push(format!("{first}{odd}{last}"));
        }
    }
    all.push(name.to_ascii_lowercase().replace('-', "_"));
    all.sort();
    all.dedup();
    all
}

/// Targets that some server reads as `/projects/write`, for which Ann lacks the scope.
pub(crate) const TARGETS: [&str; 57] = [
    "/projects/write",
    "/Projects/Write",
    "/PROJECTS/WRITE",
    "/projects/writE/1",
    "/projects/write/",
    "/projects/write?",
    "/projects/write?x=/../../",
    "/projects/write/?x",
    "/projects/write.json",
    "/projects/write;x",
    "/projects;x/write",
    "/projects/write;/x",
    "/projects/write%3bx",
    "/projects/write%00",
    "/projects/write%00.json",
    "/projects/write%0a",
    "/projects/write%09",
    "/projects/write%20",
    "/projects/write%7f",
    "/projects/write%23",
    "/projects/write%3fx",
    "/projects/write#x",
    "/projects/write%",
    "/projects/write%zz",
    "/projects/write%c0%80",
    "/projects%c0%afwrite",
    "/projects%2fwrite",
    "/projects%2Fwrite",
    "/projects%252fwrite",
    "/projects%5cwrite",
    "/projects\\write",
    "/projects\\/write",
    "\\projects\\write",
    "/projects//write",
    "//projects/write",
    "///projects/write",
    "/./projects/write",
    "/projects/./write",
    "/projects/.//write",
    "/x/../projects/write",
    "/x/..;/projects/write",
    "/x/%2e%2e/projects/write",
    "/projects/%2e/write",
    "/projects/x/..%2fwrite",
    "/projects/x/..\\write",
    "/%2e%2e/projects/write",
    "/projects./write",
    "/projects/%77rite",
    "/%70rojects/write",
    "/projects/%57RITE",
    "http://evil.example/projects/write",
    "http://evil.example//projects/write",
    "HTTP://evil.example/projects%2fwrite",
    "http:projects/write",
    "x:projects/write",
    "x:http://evil.example/projects/write",
    "projects/write",
];

/// `lines` are header lines, each with its end.
fn request(by: By, name: impl Into<String>, method: &str, target: &str, lines: &str) -> Trick {
    let credential = if by == By::Ann { "Authorization: Bearer TOKEN\r\n" } else { "" };
    let connection = if lines.contains("Connection:") { "" } else { "Connection: close\r\n" };
    let text = format!("{method} {target} HTTP/1.1\r\nHost: api.example.com\r\n{lines}{credential}{connection}\r\n");
    Trick { by, name: name.into(), text }
}

/// All of them. `auth` is the auth service's port, which Nobody happens to know.
pub(crate) fn all(auth: u16) -> Vec<Trick> {
    [headers(), shapes(), bodies(), paths(), nobody(auth)].into_iter().flatten().collect()
}

/// Fields that say what only the proxy may.
fn headers() -> Vec<Trick> {
    let names = IDENTITY.iter().chain(&BELIEVED);
    let spelled = names.flat_map(|name| spellings(name));
    spelled.map(|name| request(By::Ann, &name, "GET", "/projects", &format!("{name}: mallory\r\n"))).collect()
}

/// The same field in odd shapes, and fields that take others away.
fn shapes() -> Vec<Trick> {
    [
        ("twice", "X-Auth-User-Id: mallory\r\nX-Auth-User-Id: mallory\r\n"),
        ("twice, the second empty", "X-Auth-User-Id: mallory\r\nX-Auth-User-Id:\r\n"),
        ("empty", "X-Auth-User-Id:\r\n"),
        ("empty, and in another spelling", "X-Auth-User-Id:\r\nX_Auth_User_Id: mallory\r\n"),
        ("folded", "X-Auth-User-Id: a\r\n mallory\r\n"),
        ("folded after another field", "X-Other: a\r\n\tX-Auth-User-Id: mallory\r\n"),
        ("a space before the colon", "X-Auth-User-Id : mallory\r\n"),
        ("a tab before the colon", "X-Auth-User-Id\t: mallory\r\n"),
        ("a space before the name", " X-Auth-User-Id: mallory\r\n"),
        ("a line that ends with LF alone", "X-Other: a\nX-Auth-User-Id: mallory\r\n"),
        ("a line that ends with CR alone", "X-Other: a\rX-Auth-User-Id: mallory\r\n"),
        ("a NUL", "X-Other: a\0\r\nX-Auth-User-Id: mallory\r\n"),
        ("named by Connection", "Connection: close, X-Auth-User-Id\r\n"),
        ("named by Connection in small letters", "Connection: close, x-auth-user-id, x-auth-scopes\r\n"),
        (
            "named by Connection, and in another spelling",
            "Connection: X-Auth-User-Id, close\r\nX_Auth_User_Id: mallory\r\n",
        ),
        ("named by two Connections", "Connection: close\r\nConnection: X-Auth-User-Id\r\nX.Auth.User.Id: mallory\r\n"),
        (
            "all named by Connection",
            "Connection: close, X-Auth-User-Id, X-Auth-Token-Id, X-Auth-Kind, X-Auth-Scopes\r\n",
        ),
        ("named by Proxy-Connection", "Proxy-Connection: X-Auth-User-Id\r\n"),
        ("named by Keep-Alive", "Keep-Alive: X-Auth-User-Id, timeout=5\r\n"),
        ("named by TE", "TE: trailers, X-Auth-User-Id\r\n"),
        (
            "the address named by Connection",
            "Connection: close, X-Forwarded-For, X-Real-IP\r\nX-Forwarded-For: mallory\r\n",
        ),
        ("the credential named by Connection", "Connection: close, Authorization\r\n"),
        ("another credential first", "Authorization: Bearer mallory\r\n"),
    ]
    .map(|(name, lines)| request(By::Ann, name, "GET", "/projects", lines))
    .into()
}

/// Requests within requests.
fn bodies() -> Vec<Trick> {
    const INNER: &str = "GET /projects/write HTTP/1.1\r\nHost: a\r\nX-Auth-User-Id: mallory\r\n\r\n";
    let length = INNER.len();
    let with = |name: &str, lines: &str, body: &str| {
        let mut trick = request(By::Ann, name, "POST", "/projects", lines);
        trick.text.push_str(body);
        trick
    };
    let chunked = format!("0\r\n\r\n{INNER}");
    let one_chunk = format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n");
    let trailer = "5\r\nhello\r\n0\r\nX-Auth-User-Id: mallory\r\nX_Auth_User_Id: mallory\r\n\r\n";
    let mut all = vec![
        with("a request as body", &format!("Content-Length: {length}\r\n"), INNER),
        with("a request in a chunk", "Transfer-Encoding: chunked\r\n", &one_chunk),
        with("a request after the last chunk", "Transfer-Encoding: chunked\r\n", &chunked),
        with("a trailer", "Transfer-Encoding: chunked\r\nTrailer: X-Auth-User-Id\r\n", trailer),
        with(
            "a length and chunks",
            &format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
            &chunked,
        ),
        with("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &one_chunk),
        with("two lengths", &format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), INNER),
        with("a length with a sign", &format!("Content-Length: +{length}\r\n"), INNER),
        with("a length that a CGI would take", &format!("Content_Length: {length}\r\nContent-Length: 0\r\n"), INNER),
        with("no chunks", "Transfer-Encoding: xchunked\r\n", &chunked),
        with("chunks and more", "Transfer-Encoding: chunked, identity\r\n", &chunked),
        with("chunks after a space", "Transfer-Encoding : chunked\r\n", &chunked),
        with("chunks in another spelling", "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n", &chunked),
        with("a body to be waited for", &format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), INNER),
    ];
    for (name, line) in [("HTTP/1.0", "Host: a\r\n"), ("HTTP/1.0 without a host", "")] {
        let text = format!(
            "GET /projects HTTP/1.0\r\n{line}Authorization: Bearer TOKEN\r\nX_Auth_User_Id: mallory\r\n\
             Connection: X-Auth-User-Id\r\n\r\n"
        );
        all.push(Trick { by: By::Ann, name: name.to_owned(), text });
    }
    for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c", "TLS/1.0"] {
        let lines =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk\r\n");
        all.push(request(By::Ann, format!("an upgrade to {upgrade}"), "GET", "/projects", &lines));
    }
    all
}

/// A scope by path, and paths that go past it.
fn paths() -> Vec<Trick> {
    let mut all: Vec<Trick> = TARGETS.iter().map(|target| request(By::Ann, *target, "POST", target, "")).collect();
    for name in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri"] {
        all.push(request(
            By::Ann,
            format!("{name} with a path"),
            "POST",
            "/projects",
            &format!("{name}: /projects/write?mallory\r\n"),
        ));
        all.push(request(
            By::Ann,
            format!("{name} beside a path"),
            "POST",
            "/projects;/../projects/write",
            &format!("{name}: /mallory\r\n"),
        ));
    }
    let hidden = "Connection: close, X-Forwarded-Uri\r\n";
    all.push(request(By::Ann, "X-Forwarded-Uri named by Connection", "POST", "/projects%2fwrite", hidden));
    for query in ["?scope=projects:read", "?paths=any", "?uri=/projects&paths=any"] {
        all.push(request(
            By::Ann,
            format!("the question in the query: {query}"),
            "POST",
            &format!("/projects/write;{query}"),
            "",
        ));
        all.push(request(
            By::Ann,
            format!("the question in the query, {query}"),
            "POST",
            &format!("/projects/write{query}"),
            "",
        ));
    }
    all
}

/// Ways in for somebody who shows nothing.
fn nobody(auth: u16) -> Vec<Trick> {
    let forged = IDENTITY.map(|name| format!("{name}: mallory\r\n")).concat();
    let mut all = Vec::new();
    for name in IDENTITY {
        for name in spellings(name) {
            all.push(request(By::Nobody, format!("{name} alone"), "GET", "/projects", &format!("{name}: mallory\r\n")));
        }
    }
    for method in ["GET", "POST", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "options"] {
        all.push(request(By::Nobody, format!("{method} without a credential"), method, "/projects", &forged));
    }
    for (name, lines) in [
        ("a preflight by GET", "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n"),
        (
            "OPTIONS by another field",
            "X-HTTP-Method-Override: OPTIONS\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n",
        ),
        (
            "OPTIONS by the proxy's field",
            "X-Forwarded-Method: OPTIONS\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n",
        ),
        ("a WebSocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ("another scheme", "Authorization: Basic YTpi\r\n"),
        ("a credential in the query of the question", "X-Forwarded-Uri: /?uri=\r\n"),
    ] {
        all.push(request(By::Nobody, name, "GET", "/projects", lines));
    }
    for (name, lines) in [
        ("OPTIONS from an origin", "Origin: https://a.example\r\n"),
        ("OPTIONS for a method", "Access-Control-Request-Method: GET\r\n"),
        ("OPTIONS for an origin as method", "Access-Control-Request-Method: https://a.example\r\n"),
        ("OPTIONS with empty fields", "Origin:\r\nAccess-Control-Request-Method:\r\n"),
    ] {
        all.push(request(By::Nobody, name, "OPTIONS", "/projects", lines));
    }
    for target in [
        format!("x:http://127.0.0.1:{auth}/health"),
        format!("x:http://127.0.0.1:{auth}/?x="),
        format!("http://127.0.0.1:{auth}/health"),
        "x:/health".to_owned(),
        "/health".to_owned(),
        "/_auth".to_owned(),
        "/_auth/projects-write".to_owned(),
        "/forward-auth".to_owned(),
        "/../forward-auth".to_owned(),
        "//health".to_owned(),
        "*".to_owned(),
    ] {
        all.push(request(By::Nobody, format!("{target} without a credential"), "GET", &target, &forged));
    }
    all
}
