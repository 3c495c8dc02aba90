//! Base62 text: the alphabet of ids, tokens and their checksums.

use rand::CryptoRng;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends `len` uniformly random characters.
///
/// Six bits of each byte pick one of 64; the two that fall outside the alphabet are thrown away. Taking the remainder
/// instead would make some characters likelier than others.
pub(crate) fn push_random<R: CryptoRng + ?Sized>(out: &mut String, len: usize, rng: &mut R) {
    let mut missing = len;
    let mut bytes = [0u8; 64];
    while missing > 0 {
        rng.fill_bytes(&mut bytes);
        for byte in bytes {
            if missing == 0 {
                break;
            }
            if let Some(&character) = ALPHABET.get(usize::from(byte & 0x3f)) {
                out.push(char::from(character));
                missing -= 1;
            }
        }
    }
}

/// The number as six characters, most significant first, padded with `0`. 62⁶ exceeds 2³², so every value fits.
pub(crate) fn six_characters(mut number: u32) -> [u8; 6] {
    let mut out = [ALPHABET[0]; 6];
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn every_character_is_equally_likely() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut text = String::new();
        push_random(&mut text, 620_000, &mut rng);

        for &character in ALPHABET {
            let count = text.bytes().filter(|&byte| byte == character).count();
            // 10,000 expected, standard deviation 99: six deviations either side.
            assert!((9_400..=10_600).contains(&count), "{}: {count}", char::from(character));
        }
    }

    #[test]
    fn numbers_have_six_places() {
        assert_eq!(&six_characters(0), b"000000");
        assert_eq!(&six_characters(61), b"00000z");
        assert_eq!(&six_characters(62), b"000010");
        assert_eq!(&six_characters(u32::MAX), b"4gfFC3");
    }
}
