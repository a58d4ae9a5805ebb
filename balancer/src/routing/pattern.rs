//! AWS's wildcards: `*` is any number of characters, `?` is exactly one, `\` takes the next as it is.

use std::fmt;

/// AWS: "the maximum size of each string is 128 characters".
pub(super) const MAX_LENGTH: usize = 128;

/// A compiled pattern. Matching takes at most pattern times text steps, and the pattern has 128 at most.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Box<[Token]>,
    fold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
}

impl Pattern {
    /// Compares letters as they are.
    pub(super) fn exact_case(text: &str) -> Self {
        Self::new(text, false)
    }

    /// Takes small and capital letters (of ASCII) for the same.
    pub(super) fn any_case(text: &str) -> Self {
        Self::new(text, true)
    }

    fn new(text: &str, fold: bool) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            tokens.push(match byte {
                b'*' if tokens.last() == Some(&Token::Many) => continue,
                b'*' => Token::Many,
                b'?' => Token::One,
                // A last backslash has nothing to escape.
                b'\\' => Token::Byte(bytes.next().unwrap_or(b'\\')),
                byte => Token::Byte(byte),
            });
            if let (true, Some(Token::Byte(byte))) = (fold, tokens.last_mut()) {
                byte.make_ascii_lowercase();
            }
        }
        Self { tokens: tokens.into(), fold }
    }

    pub(super) fn wildcards(&self) -> usize {
        self.tokens.iter().filter(|token| !matches!(token, Token::Byte(_))).count()
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let fold = |byte: u8| if self.fold { byte.to_ascii_lowercase() } else { byte };
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last `*` did not match: that `*` takes one byte more. Earlier ones need
        // not be tried again, because the last one can take whatever they would.
        let mut retry = None;
        while at < text.len() {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    retry = Some((token, at));
                    token += 1;
                }
                Some(Token::One) => (token, at) = (token + 1, at + 1),
                Some(Token::Byte(byte)) if *byte == fold(text[at]) => (token, at) = (token + 1, at + 1),
                _ => {
                    let Some((many, from)) = retry else { return false };
                    retry = Some((many, from + 1));
                    (token, at) = (many + 1, from + 1);
                }
            }
        }
        self.tokens[token..].iter().all(|token| *token == Token::Many)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self
            .tokens
            .iter()
            .map(|token| match token {
                Token::Byte(byte) => char::from(*byte),
                Token::One => '?',
                Token::Many => '*',
            })
            .collect();
        fmt::Debug::fmt(&text, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::exact_case(pattern).matches(text.as_bytes())
    }

    /// The definition, word for word.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| by_definition(rest, &text[taken..])),
            Some((b'?', rest)) => !text.is_empty() && by_definition(rest, &text[1..]),
            Some((byte, rest)) => text.first() == Some(byte) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn means_what_the_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn wildcards_are_awss() {
        for (pattern, text, expected) in [
            ("/img/*", "/img/", true),
            ("/img/*", "/img", false),
            ("/img/*/pics", "/img/a/b/pics", true),
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            (r"what\?", "what?", true),
            (r"what\?", "whats", false),
            (r"2\*2", "2*2", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(Pattern::any_case("*.EXAMPLE.com").matches(b"www.Example.COM"));
        assert!(!matches("/A", "/a"));
    }

    #[test]
    fn a_pattern_made_to_take_long_takes_no_longer_than_its_size() {
        let pattern = "*a".repeat(64);
        let text = "a".repeat(16 * 1024) + "b";
        assert!(!matches(&pattern, &text));
    }
}
