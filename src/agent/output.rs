//! What an agent wrote, bounded.
#![forbid(unsafe_code)]

use heapless::Deque;

/// One of an agent's two streams: its beginning up to [`Output::LIMIT`] bytes, and of what came after
/// only the end, where the exit reason is looked for.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: Option<Box<Deque<u8, { Output::TAIL }>>>,
}

impl Output {
    /// How many bytes of a stream the cluster is told. Half a MiB stays below the strict parser's 10 MB for one
    /// value even when every byte needs six (remote-protocol.md section 2.5).
    pub const LIMIT: usize = 512 * 1024;

    /// How many bytes of an overlong stream's end are searched for the exit reason.
    const TAIL: usize = 2048;

    /// The longest exit reason, in bytes.
    const REASON_LIMIT: usize = 1000;

    /// Takes note of what was written; bytes beyond the limit push older ones out of the searched end.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = Self::LIMIT - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        if rest.is_empty() {
            return;
        }
        let tail = self.tail.get_or_insert_default();
        for &byte in &rest[rest.len().saturating_sub(Self::TAIL)..] {
            if tail.is_full() {
                tail.pop_front();
            }
            // There is room: one was just taken out if it was full.
            let _ = tail.push_back(byte);
        }
    }

    /// What the cluster is told.
    pub fn bytes(&self) -> &[u8] {
        &self.head
    }

    /// Takes what the cluster is told.
    pub fn into_bytes(self) -> Vec<u8> {
        self.head
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// The text after the last `prefix` up to the end of its line, if it is not empty: an empty last one
    /// hides earlier ones (executor-semantics.md section 6.5).
    pub fn last_after(&self, prefix: &[u8]) -> Option<String> {
        let tail: Vec<u8> = self.tail.iter().flat_map(|tail| tail.iter().copied()).collect();
        let line = after_last(&tail, prefix).or_else(|| after_last(&self.head, prefix))?;
        (!line.is_empty()).then(|| text(line, Self::REASON_LIMIT))
    }
}

/// The text of what an agent wrote: at most `limit` bytes of whole characters, and `?` for what is no
/// character, as the XML writer has it.
fn text(bytes: &[u8], limit: usize) -> String {
    // A character that is cut here is behind the limit.
    let bytes = bytes.get(..limit + 3).unwrap_or(bytes);
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('?');
        }
    }
    text.truncate(text.floor_char_boundary(limit));
    text
}

fn after_last<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let start = text.windows(prefix.len()).rposition(|window| window == prefix)? + prefix.len();
    let rest = &text[start..];
    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &[u8] = b"ocf-exit-reason:";

    fn output(bytes: &[u8]) -> Output {
        let mut output = Output::default();
        output.push(bytes);
        output
    }

    #[test]
    fn the_last_reason_counts_wherever_it_stands_in_its_line() {
        let reason = |bytes: &[u8]| output(bytes).last_after(PREFIX);
        assert_eq!(reason(b"ocf-exit-reason:one\nx ocf-exit-reason: two \nmore").as_deref(), Some(" two "));
        assert_eq!(reason(b"ocf-exit-reason:one\nocf-exit-reason:\n"), None);
        assert_eq!(reason(b"nothing"), None);
        assert_eq!(reason(b"ocf-exit-reason:\xff").as_deref(), Some("?"));
        assert_eq!(reason(b"ocf-exit-reason:a\xc3\xa9\xf0\x9f\x98b\x1b").as_deref(), Some("a\u{e9}?b\x1b"));
    }

    #[test]
    fn an_endless_stream_is_bounded_and_its_last_reason_found() {
        let mut output = output(b"ocf-exit-reason:early\n");
        for _ in 0..100 {
            output.push(&[b'x'; 65536]);
        }
        assert_eq!(output.last_after(PREFIX).as_deref(), Some("early"));
        output.push(b"\nocf-exit-reason:late\n");
        assert_eq!(output.last_after(PREFIX).as_deref(), Some("late"));
        assert_eq!(output.bytes().len(), Output::LIMIT);
    }

    #[test]
    fn a_reason_is_cut() {
        let text = [PREFIX, &[b'x'; 5000]].concat();
        assert_eq!(output(&text).last_after(PREFIX).unwrap().len(), Output::REASON_LIMIT);
        // Not within a character.
        let text = [PREFIX, b"x", "\u{e9}".repeat(5000).as_bytes()].concat();
        let reason = output(&text).last_after(PREFIX).unwrap();
        assert_eq!(reason, format!("x{}", "\u{e9}".repeat((Output::REASON_LIMIT - 1) / 2)));
    }
}
