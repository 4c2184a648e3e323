//! Random numbers that are the same whenever the attempt's seed is: SHA-256 in counter mode.

use rand_core::TryRng;
use sha2::{Digest, Sha256};
use std::convert::Infallible;

const BLOCK_BYTES: usize = 32;

/// One stream of a seed's random bytes; it does not repeat.
pub(super) struct Seeded {
    seed: [u8; 32],
    stream: u8,
    next_block: u64,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Seeded {
    pub(super) fn new(seed: [u8; 32], stream: u8) -> Self {
        Self { seed, stream, next_block: 0, block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }

    fn byte(&mut self) -> u8 {
        if self.used == BLOCK_BYTES {
            let mut hash = Sha256::new();
            hash.update(self.seed);
            hash.update([self.stream]);
            hash.update(self.next_block.to_le_bytes());
            self.block = hash.finalize().into();
            self.next_block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

impl TryRng for Seeded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        into.fill_with(|| self.byte());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u8, stream: u8) -> Vec<u8> {
        let mut bytes = vec![0; 8 << 10];
        let Ok(()) = Seeded::new([seed; 32], stream).try_fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn the_same_seed_and_stream_give_the_same_and_others_give_others() {
        assert_eq!(drawn(1, 0), drawn(1, 0));
        assert_ne!(drawn(1, 0), drawn(2, 0));
        assert_ne!(drawn(1, 0), drawn(1, 1));
    }

    #[test]
    fn they_do_not_repeat() {
        let bytes = drawn(1, 0);
        let blocks: std::collections::HashSet<_> = bytes.chunks(16).collect();
        assert_eq!(blocks.len(), bytes.len() / 16);
    }
}
