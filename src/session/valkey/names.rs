//! Owns the names of keys in the server: what lies in which of 256 shards, and in which slot of a cluster.
//! Must not know what is kept under them.

use std::fmt::Write as _;

use super::super::store::StoreKey;

/// The first byte of a key, which is a hash. All that a script touches carries one shard's tag, so that
/// it lies in one slot of a cluster; there are enough shards to spread over its servers.
pub(super) type Shard = u8;

/// Every shard.
pub(super) const SHARDS: std::ops::RangeInclusive<Shard> = 0..=Shard::MAX;

pub(super) const fn shard(key: &StoreKey) -> Shard {
    let [first, ..] = *key.as_bytes();
    first
}

/// Makes names.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The record of a session.
    pub(super) fn record(&self, key: &StoreKey) -> Vec<u8> {
        self.of("r", key)
    }

    /// The keys of the records that carry an index.
    pub(super) fn index(&self, key: &StoreKey) -> Vec<u8> {
        self.of("i", key)
    }

    pub(super) fn consumed(&self, key: &StoreKey) -> Vec<u8> {
        self.of("c", key)
    }

    pub(super) fn mark(&self, key: &StoreKey) -> Vec<u8> {
        self.of("m", key)
    }

    /// The keys of a shard's records by when they may have ended.
    pub(super) fn deadlines(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "due")
    }

    /// The keys of a shard's records in their order.
    pub(super) fn all(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "all")
    }

    pub(super) fn consumed_ends(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "consumed")
    }

    pub(super) fn mark_ends(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "marks")
    }

    /// Entries of a shard's indexes by when to see whether they dangle.
    pub(super) fn checks(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "checks")
    }

    pub(super) fn ping(&self, shard: Shard) -> Vec<u8> {
        self.set(shard, "ping")
    }

    /// Where changes are told.
    pub(super) fn channel(&self) -> Vec<u8> {
        format!("{}:changes", self.prefix).into_bytes()
    }

    /// The slots of a cluster that the shards lie in, in their order.
    pub(super) fn slots(&self) -> Vec<u16> {
        SHARDS.map(|shard| crc16(self.tag(shard).as_bytes()) % 16384).collect()
    }

    fn tag(&self, shard: Shard) -> String {
        format!("{}:{shard:02x}", self.prefix)
    }

    fn set(&self, shard: Shard, what: &str) -> Vec<u8> {
        format!("{{{}}}:{what}", self.tag(shard)).into_bytes()
    }

    fn of(&self, what: &str, key: &StoreKey) -> Vec<u8> {
        let mut name = format!("{{{}}}:{what}:", self.tag(shard(key)));
        for byte in key.as_bytes() {
            let _ = write!(name, "{byte:02x}");
        }
        name.into_bytes()
    }
}

/// CRC-16/XMODEM, as the cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own example.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b"foo") % 16384, 12182, "what CLUSTER KEYSLOT foo answers");
    }

    #[test]
    fn all_keys_of_a_shard_share_its_tag_and_shards_spread() {
        let names = Names::new("fapi-bff".to_owned());
        let key = StoreKey::new([0xab; 32]);
        for name in [names.record(&key), names.index(&key), names.deadlines(0xab), names.ping(0xab)]
        {
            assert!(name.starts_with(b"{fapi-bff:ab}:"));
        }
        let slots = names.slots();
        assert_eq!(slots.len(), 256);
        for third in 0..3 {
            let within = slots.iter().filter(|slot| **slot / 5462 == third).count();
            assert!(within > 60, "{within}");
        }
    }
}
