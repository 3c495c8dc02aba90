//! Paths that all servers read alike.

/// Whether every server takes the path of this request target (RFC 9112 §3.2.1) for the same one.
///
/// A proxy that asks for a scope by path compares one reading of it, and the API behind acts on its own: WSGI and PHP
/// decode `%2f` and `%77`, Java servers cut `;x` off, Windows takes `\` for `/`, C programs end at `%00`, and some
/// merge `//` and resolve `..` where others do not. Whoever knows both readings walks around the scope. A path in normal
/// form (RFC 3986 §6.2.2) has none of these.
pub(super) fn is_plain(target: &[u8]) -> bool {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let Some(path) = path.strip_prefix(b"/") else {
        // `*`, `host:port`, and `x:path`, which some proxies pass on as it is.
        return false;
    };
    let mut segments = path.split(|byte| *byte == b'/');
    let last = segments.next_back().unwrap_or_default();
    segments.all(|segment| !segment.is_empty() && is_plain_segment(segment)) && is_plain_segment(last)
}

fn is_plain_segment(segment: &[u8]) -> bool {
    // `.` and `..` are steps, and Windows drops dots at the end of any name.
    if segment.ends_with(b".") {
        return false;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let Some((encoded, after)) = rest.split_first_chunk::<2>().and_then(|(hex, after)| {
                    let text = str::from_utf8(hex).ok().filter(|_| hex.iter().all(u8::is_ascii_hexdigit))?;
                    Some((u8::from_str_radix(text, 16).ok()?, after))
                }) else {
                    return false;
                };
                // Decoded a second time, it would be another character.
                let is_encoded_twice = encoded == b'%' && after.first().is_some_and(u8::is_ascii_hexdigit);
                let is_left_as_it_is = encoded.is_ascii_alphanumeric() || matches!(encoded, b'.' | b'-' | b'_');
                if is_encoded_twice || is_left_as_it_is || !is_harmless(encoded) || matches!(encoded, b'/' | b'?') {
                    return false;
                }
                rest = after;
                decoded.push(encoded);
            }
            b' ' => return false,
            byte if !is_harmless(*byte) => return false,
            byte => decoded.push(*byte),
        }
    }
    // `%c0%af` and `%e0%80%af` were slashes to old decoders, and others drop what is no UTF-8.
    str::from_utf8(&decoded).is_ok()
}

/// Not a byte that ends a path or parts it.
fn is_harmless(byte: u8) -> bool {
    !byte.is_ascii_control() && !matches!(byte, b'\\' | b';' | b'#')
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn a_path_in_normal_form_is_plain() {
        for target in [
            "/",
            "/projects",
            "/projects/",
            "/projects/write.json?x=;../%00//",
            "/a-b_c~d/.well-known/x",
            "/caf%C3%A9/caf\u{e9}/100%25/a%20b/a+b/a:b@c,d=e&f!$'()*",
            "/%7Euser/%5B1%5D/50%25%20off",
        ] {
            assert!(is_plain(target.as_bytes()), "{target}");
        }
    }

    #[test]
    fn what_some_servers_read_otherwise_is_not() {
        for target in [
            "",
            "*",
            "projects",
            "x:projects",
            "http://a/b",
            "//projects",
            "/projects//write",
            "/projects//",
            "/./projects",
            "/projects/.",
            "/projects/..",
            "/a/../projects",
            "/projects./write",
            "/a/..;/projects",
            "/projects;x/write",
            "/projects/write;",
            "/projects/write%3b",
            "/projects\\write",
            "/projects%5cwrite",
            "/projects%2fwrite",
            "/projects%2Fwrite",
            "/projects%252fwrite",
            "/projects/%2e/write",
            "/%2E%2E/projects",
            "/projects/write%00",
            "/projects/write%0a",
            "/projects/write%7f",
            "/projects/%77rite",
            "/projects/write%3fx",
            "/projects/write%23",
            "/projects/write#",
            "/projects/write%",
            "/projects/write%f",
            "/projects/write%zz",
            "/projects/write%+f",
            "/projects%c0%afwrite",
            "/projects%c1%9cwrite",
            "/projects%e0%80%afwrite",
            "/projects%f0%80%80%afwrite",
            "/projects/%e0%80%aewrite",
            "/projects/%80write",
            "/projects/wr%EFte",
            "/projects%ed%a0%80/write",
            "/projects/%f4%90%80%80write",
            "/caf%C3",
            "/projects/a b",
            "/projects/\u{7f}",
            "/my%2dprojects",
            "/a\tb",
            "/a\0",
        ] {
            assert!(!is_plain(target.as_bytes()), "{target:?}");
        }
        assert!(!is_plain(b"/projects\xc0\xafwrite") && !is_plain(b"/\xff"));
        assert!(!is_plain(b"/wr\xefte") && !is_plain(b"/write\x85"));
    }
}
