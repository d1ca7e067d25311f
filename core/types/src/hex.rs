//! Bytes as text.

/// Two lower-case hex digits a byte.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    bytes.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(super::hex([0, 9, 10, 255, 160]), "00090affa0");
        assert_eq!(super::hex([]), "");
    }
}
