//! Server-sent events (WHATWG HTML, 9.2), as much of them as the agent sends: the data of each event.

/// Puts pieces of a stream together.
#[derive(Default)]
pub struct Lines {
    pending: Vec<u8>,
    data: String,
}

impl Lines {
    /// Takes the next piece, and gives the data of the events that it completes.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.pending[start..].iter().position(|&b| b == b'\n') {
            let line = String::from_utf8_lossy(&self.pending[start..start + length]);
            let line = line.trim_end_matches('\r');
            start += length + 1;
            if line.is_empty() {
                if !self.data.is_empty() {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:") {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
        }
        self.pending.drain(..start);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_cut_anywhere_come_out_whole() {
        let stream = ": hello\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:{\"b\":\ndata: \"ö\"}\n\n";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let (one, two) = stream.as_bytes().split_at(cut);
            let mut events = lines.feed(one);
            events.extend(lines.feed(two));
            assert_eq!(events, ["{\"a\":1}", "{\"b\":\n\"ö\"}"], "cut at {cut}");
        }
    }
}
