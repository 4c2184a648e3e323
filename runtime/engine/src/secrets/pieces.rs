//! Pieces of secrets: what is left of one where a text was cut.
//!
//! They are looked for beside the mark of a cut ([`stepback_core::cut`]), in any place of a text,
//! and at the end of a long one, which may have been cut by whoever wrote it.

use aho_corasick::{AhoCorasick, MatchKind};
use stepback_core::cut::CUT;
use stepback_provider::decoded::{half_at_the_beginning, half_at_the_end};

/// A shorter piece is found in texts that have nothing to do with the secret.
pub(super) const PIECE_BYTES_MIN: usize = 8;

/// What stands where something of a text is lost: a cut of ours, or a character that a cut of
/// somebody else left nobody knows what of.
pub(super) const LOST: [char; 2] = [CUT, char::REPLACEMENT_CHARACTER];

/// Which piece of a text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Beginning,
    End,
}

/// A piece that was found.
pub(super) struct Piece {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The text it is of, by its number.
    pub(super) of: usize,
    pub(super) side: Side,
}

/// What finds pieces of some texts.
pub(super) struct Pieces {
    finder: Option<AhoCorasick>,
    /// The text, and the side, of each pattern.
    patterns: Vec<(usize, Side)>,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Beginning, Self::End];

    /// What tells it in a mark.
    pub(super) fn sign(self) -> char {
        match self {
            Side::Beginning => '<',
            Side::End => '>',
        }
    }

    /// So many bytes of a text, if they are whole characters.
    pub(super) fn of(self, text: &str, bytes: usize) -> Option<&str> {
        match self {
            Side::Beginning => text.get(..bytes),
            Side::End => text.get(text.len().checked_sub(bytes)?..),
        }
    }
}

impl Pieces {
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let (mut edges, mut patterns): (Vec<&[u8]>, Vec<_>) = (vec![], vec![]);
        for (of, text) in texts.map(str::as_bytes).enumerate() {
            if text.len() > PIECE_BYTES_MIN {
                edges.extend([&text[..PIECE_BYTES_MIN], &text[text.len() - PIECE_BYTES_MIN..]]);
                patterns.extend([(of, Side::Beginning), (of, Side::End)]);
            }
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(edges);
        Self { finder: finder.ok().filter(|_| !patterns.is_empty()), patterns }
    }

    /// The pieces that are beside what is lost, in order, the longer ones first; whether something
    /// may be lost before and behind all of it is told by `begins` and `ends`.
    pub(super) fn find(
        &self,
        texts: &[(String, String)],
        among: &[u8],
        (begins, ends): (bool, bool),
    ) -> Vec<Piece> {
        let lost = LOST.map(String::from);
        let is_cut = begins || ends || lost.iter().any(|one| has(among, one.as_bytes()));
        let Some(finder) = self.finder.as_ref().filter(|_| is_cut) else { return vec![] };
        let mut found = vec![];
        for edge in finder.find_overlapping_iter(among) {
            let (of, side) = self.patterns[edge.pattern().as_usize()];
            let text = texts[of].0.as_str();
            let (start, end) = match side {
                Side::Beginning => {
                    let same = alike(among[edge.start()..].iter().copied(), text.bytes());
                    (edge.start(), edge.start() + text.floor_char_boundary(same))
                }
                Side::End => {
                    let same = alike(among[..edge.end()].iter().copied().rev(), text.bytes().rev());
                    let from = text.ceil_char_boundary(text.len() - same);
                    (edge.end() + from - text.len(), edge.end())
                }
            };
            // A cut may go through the escape of its next character.
            let behind = end + half_at_the_beginning(&among[end..]);
            let before = start - half_at_the_end(&among[..start]);
            let is_lost = match side {
                Side::Beginning if behind == among.len() => ends,
                Side::Beginning => {
                    lost.iter().any(|one| among[behind..].starts_with(one.as_bytes()))
                }
                Side::End if before == 0 => begins,
                Side::End => lost.iter().any(|one| among[..before].ends_with(one.as_bytes())),
            };
            if is_lost && end - start >= PIECE_BYTES_MIN && end - start < text.len() {
                found.push(Piece { start, end, of, side });
            }
        }
        found.sort_by_key(|piece| (piece.start, std::cmp::Reverse(piece.end)));
        found
    }
}

fn has(among: &[u8], one: &[u8]) -> bool {
    among.windows(one.len()).any(|window| window == one)
}

/// How many bytes are the same from the first on.
fn alike(one: impl Iterator<Item = u8>, other: impl Iterator<Item = u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}
