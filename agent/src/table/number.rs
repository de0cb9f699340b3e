//! Small numbers inside the text of a table, in printable ASCII: the whole text stays valid UTF-8 without a
//! control character, and one pass over it checks every string at once.
//!
//! The last digit is one of 64 from ' ' (0x20), the ones before it are one of 16 from '`' (0x60), the most significant
//! first: below 64 one byte, below 1,024 two, below 16,384 three.

/// Appends `number`.
pub(super) fn push(text: &mut String, number: u32) {
    let mut high = number >> 6;
    let mut digits = [0u8; 8];
    let mut used = 0;
    while high > 0 {
        digits[used] = 0x60 | (high & 0xf) as u8;
        used += 1;
        high >>= 4;
    }
    for &digit in digits[..used].iter().rev() {
        text.push(char::from(digit));
    }
    text.push(char::from(0x20 + (number & 0x3f) as u8));
}

/// Reads a number at the start of `text` and what follows it; `None` when there is none, or one that [`push`] would not write.
pub(super) fn read(text: &[u8]) -> Option<(u32, &[u8])> {
    let mut high: u32 = 0;
    for (at, &byte) in text.iter().enumerate().take(8) {
        match byte {
            0x60..=0x6f if at > 0 || byte != 0x60 => {
                high = high.checked_mul(16)?.checked_add(u32::from(byte & 0xf))?;
            }
            0x20..=0x5f => return Some((high.checked_mul(64)? + u32::from(byte - 0x20), &text[at + 1..])),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_in_printable_ascii() {
        for number in [0, 1, 36, 63, 64, 1023, 1024, 16_383, 16_384, 999_999, 16_000_000, u32::MAX] {
            let mut text = String::new();
            push(&mut text, number);
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text:?}");
            text.push_str("rest");
            assert_eq!(read(text.as_bytes()), Some((number, &b"rest"[..])), "{number}");
        }
    }

    #[test]
    fn unfinished_padded_and_oversized_numbers_are_refused() {
        for bad in [&b""[..], b"a", b"`A", b"oooooooA", b"aaaaaaaaa", b"\x7f", b"\xff"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
