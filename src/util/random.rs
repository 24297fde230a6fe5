//! Random numbers that are the same on every machine for the same seed.

/// A bijective mixer of 64 bits (a step of splitmix64: Steele, Lea, Flood 2014).
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(GAMMA);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The golden ratio of 32 bits, odd: its multiples lie far from one another (Knuth, multiplicative
/// hashing).
pub const GOLDEN: u32 = 0x9E37_79B1;

/// splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        let number = mix(self.0);
        self.0 = self.0.wrapping_add(GAMMA);
        number
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&mut self) -> f64 {
        fraction(self.next())
    }
}

/// A number in `[0, 1)` from random bits.
pub fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The numbers below `count` in steps of the golden ratio: every stretch of them is spread evenly.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    count: u64,
    step: u64,
}

impl Spread {
    pub fn new(count: u32) -> Self {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let near = (f64::from(count) * GOLDEN) as u64;
        let count = u64::from(count.max(1));
        let step = (near.max(1)..).find(|&step| gcd(step, count) == 1);
        Self { count, step: step.expect("a number above has no common factor") }
    }

    /// The number at a position below `count`.
    pub fn at(self, position: u32) -> u32 {
        (u64::from(position) * self.step % self.count) as u32
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_numbers_are_a_permutation() {
        for count in [1, 2, 3, 10, 64, 997, 1000] {
            let mut numbers: Vec<u32> = (0..count).map(|position| Spread::new(count).at(position)).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..count));
        }
    }
}
