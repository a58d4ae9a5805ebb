//! HTTP/2, frame by frame and field by field: what no client library would send.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of these fields as they are, each a literal that is not indexed (RFC 7541, 6.2.2).
pub(crate) fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short string");
        [&[length], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

/// The status of an answer, which is the first field of its header block (RFC 7541, 6.1, 6.2 and appendices A and B).
pub(crate) fn status(block: &[u8]) -> u16 {
    match *block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [0x48, 3, a, b, c, ..] => {
            [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'))
        }
        [0x48, huffman, ref code @ ..] if huffman & 0x80 != 0 => {
            let code = &code[..usize::from(huffman & 0x7f)];
            let mut bits =
                code.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
            let mut take = |count| bits.by_ref().take(count).fold(0, |value, bit| value << 1 | bit);
            // 0, 1 and 2 have five bits, the other digits six.
            let mut digit = || match take(5) {
                small @ 0..=2 => small,
                large => (large << 1 | take(1)) - 0x19 + 3,
            };
            (digit() * 10 + digit()) * 10 + digit()
        }
        _ => panic!("no status first: {block:?}"),
    }
}
