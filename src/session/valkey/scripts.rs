//! Owns what the server does in one step: Lua scripts, each on keys of one slot, none of which reads a
//! clock but the server's. Must not know connections, nor what is inside a record.

use std::{fmt::Write as _, sync::LazyLock};

use aws_lc_rs::digest;

/// A script and the name under which a server keeps it.
pub(super) struct Script {
    pub(super) source: String,
    pub(super) sha1: String,
}

impl Script {
    fn new(body: &str) -> Self {
        let source = format!("{PRELUDE}{body}");
        // SHA-1 is what the protocol names scripts by; nothing is trusted for it.
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        let mut sha1 = String::with_capacity(40);
        for byte in hash.as_ref() {
            let _ = write!(sha1, "{byte:02x}");
        }
        Self { source, sha1 }
    }
}

/// `keep` lets the server forget a key by itself, but a day after it may be forgotten: sweeping comes
/// first and counts. A time that has passed by the server's clock counts from now, so that no difference
/// between clocks makes the server forget too soon. It never brings an end forward.
///
/// `tell` may fail, for want of the right to publish: nobody depends on it.
const PRELUDE: &str = r"
local FAR = 253402300799000
local function number(n) return string.format('%.0f', n) end
local function micros()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function millis() return math.floor(micros() / 1000) end
local function keep(key, seconds)
  local ms = millis()
  local ends = math.min(math.max(tonumber(seconds) * 1000, ms) + 86400000, FAR)
  if redis.call('PTTL', key) < ends - ms then redis.call('PEXPIREAT', key, number(ends)) end
end
local function score(n) return number(math.max(math.min(n, 9e15), -9e15)) end
local function ends(seen, idle, expires)
  return score(math.min(tonumber(seen) + tonumber(idle), tonumber(expires)))
end
local function tell(channel, message) redis.pcall('PUBLISH', channel, message) end
";

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $body:literal;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new($body));)*

        #[cfg(test)]
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&*$name),*]
        }
    };
}

scripts! {
    /// Keys: index, what is to be checked. Says when it was, by this server's clock.
    INDEX = r"
local member, entry, expires = unpack(ARGV)
redis.call('SADD', KEYS[1], member)
redis.call('ZADD', KEYS[2], number(millis() + 600000), entry)
keep(KEYS[1], expires)
keep(KEYS[2], expires)
return number(millis())
";
    /// Keys: index, what is to be checked.
    UNINDEX = r"
local member, entry = unpack(ARGV)
redis.call('ZREM', KEYS[2], entry)
return redis.call('SREM', KEYS[1], member)
";
    /// Keys: what is to be checked. Who gets an entry is the one to check it.
    CLAIM = r"
local ms = millis()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', number(ms), 'LIMIT', '0', ARGV[1])
for _, entry in ipairs(due) do redis.call('ZADD', KEYS[1], number(ms + 3600000), entry) end
return due
";
    /// Keys: record, deadlines, all. Not after `latest`: by then the index entries count as dangling.
    CREATE = r"
local member, latest, version, app, created, sealed, expires, idle, seen, indexes = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'there', redis.call('HGET', KEYS[1], 'x') or ''}
end
if millis() > tonumber(latest) then return {'late'} end
redis.call('HSET', KEYS[1], 'v', version, 'a', app, 'c', created, 's', sealed, 'e', expires,
  'i', idle, 'l', seen, 'x', indexes)
redis.call('ZADD', KEYS[2], ends(seen, idle, expires), member)
redis.call('ZADD', KEYS[3], '0', member)
for _, key in ipairs(KEYS) do keep(key, expires) end
return {'created'}
";
    /// Keys: record. A fence follows the server's clock, so that one that a failover forgot is not
    /// granted again.
    LEASE = r"
local owner, ttl = unpack(ARGV)
local r = redis.call('HMGET', KEYS[1], 'v', 'a', 'c', 's', 'e', 'i', 'l', 'x', 'f', 'o', 'u')
if not r[1] then return {'gone'} end
local us = micros()
local ms = math.floor(us / 1000)
local other = r[10] and r[10] ~= owner
if other and ms < tonumber(r[11]) then return {'held'} end
local fence = number(math.max((tonumber(r[9] or '0')) + 1, us))
redis.call('HSET', KEYS[1], 'f', fence, 'o', owner, 'u', number(ms + tonumber(ttl)))
return {'granted', fence, other and 'abandoned' or 'free', r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8]}
";
    /// Keys: record.
    RELEASE = r"
if redis.call('HGET', KEYS[1], 'f') == ARGV[1] then redis.call('HDEL', KEYS[1], 'o', 'u') end
return 'done'
";
    /// Keys: record, deadlines, all. A longer life asks for `extended` index entries first.
    REPLACE = r"
local member, expected, fence, next, sealed, expires, extended, channel, message = unpack(ARGV)
local r = redis.call('HMGET', KEYS[1], 'v', 'f', 'l', 'i', 'e', 'x')
if not r[1] then return {'gone'} end
if r[1] ~= expected then return {'conflict'} end
if r[2] ~= fence then return {'fenced'} end
if extended == '0' and tonumber(expires) > tonumber(r[5]) then return {'extend', r[6]} end
redis.call('HSET', KEYS[1], 'v', next, 's', sealed, 'e', expires)
redis.call('HDEL', KEYS[1], 'o', 'u')
redis.call('ZADD', KEYS[2], ends(r[3], r[4], expires), member)
for _, key in ipairs(KEYS) do keep(key, expires) end
tell(channel, message)
return {'done'}
";
    /// Keys: record. Its deadline is put right by the sweep that comes upon it.
    TOUCH = r"
local seen = redis.call('HGET', KEYS[1], 'l')
if seen and tonumber(seen) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'l', ARGV[1]) end
return 'done'
";
    /// Keys: record, deadlines, all.
    REMOVE = r"
local member, condition, first, second, channel, message = unpack(ARGV)
local r = redis.call('HMGET', KEYS[1], 'v', 'a', 'c', 's', 'e', 'i', 'l', 'x', 'f')
if not r[1] then return {'absent'} end
if condition == 'unchanged' and (r[1] ~= first or r[9] ~= second) then return {'changed'} end
if condition == 'unseen' and tonumber(r[7]) > tonumber(first) then return {'changed'} end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], member)
redis.call('ZREM', KEYS[3], member)
tell(channel, message)
return {'done', r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8]}
";
    /// Keys: deadlines, all, records. Judges each as `Expiry::of` does; those that live on get their
    /// new deadline.
    EXPIRE = r"
local now, channel, message = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local out = {}
for at = 3, #KEYS do
  local member = ARGV[at + 1]
  local r = redis.call('HMGET', KEYS[at], 'a', 'e', 'i', 'l', 'x')
  local limit = nil
  if r[1] then
    local idle, absolute = tonumber(r[4]) + tonumber(r[3]), tonumber(r[2])
    if now >= idle then limit = 'idle' end
    if now >= absolute and (not limit or absolute < idle) then limit = 'absolute' end
    if limit then
      redis.call('DEL', KEYS[at])
      tell(channel, message .. member)
    else
      redis.call('ZADD', KEYS[1], ends(r[4], r[3], r[2]), member)
    end
  end
  if limit or not r[1] then
    local left = redis.call('ZREM', KEYS[1], member) + redis.call('ZREM', KEYS[2], member)
    if limit or left > 0 then
      table.insert(out, {limit or 'dangling', member, r[1] or '', r[5] or ''})
    end
  end
end
return out
";
    /// Keys: consumed, ends of consumed keys.
    CONSUME = r"
local member, expires = unpack(ARGV)
if not redis.call('SET', KEYS[1], '1', 'NX') then return 0 end
redis.call('ZADD', KEYS[2], score(tonumber(expires)), member)
for _, key in ipairs(KEYS) do keep(key, expires) end
return 1
";
    /// Keys: mark, ends of marks.
    MARK = r"
local member, time, expires, channel, message = unpack(ARGV)
local r = redis.call('HMGET', KEYS[1], 't', 'e')
if r[1] and tonumber(r[1]) > tonumber(time) then time = r[1] end
if r[2] and tonumber(r[2]) > tonumber(expires) then expires = r[2] end
redis.call('HSET', KEYS[1], 't', time, 'e', expires)
redis.call('ZADD', KEYS[2], score(tonumber(expires)), member)
for _, key in ipairs(KEYS) do keep(key, expires) end
tell(channel, message)
return 'done'
";
    /// Keys: ends, what ends.
    FORGET = r"
local forgotten = 0
for at = 2, #KEYS do
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if ends and tonumber(ends) <= tonumber(ARGV[1]) then
    redis.call('DEL', KEYS[at])
    redis.call('ZREM', KEYS[1], ARGV[at])
    forgotten = forgotten + 1
  end
end
return forgotten
";
    /// Keys: one that nobody reads.
    PING = r"
redis.call('SET', KEYS[1], '1', 'PX', '60000')
return 'done'
";
}
