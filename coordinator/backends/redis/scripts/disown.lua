#!lua flags=allow-oom
-- Forgets claimed deltas as if they had never been accepted, and lets go of what is left of their payloads, so that their
-- agents find no receipt and send what is missing; those that are settled already are left as they are.
-- KEYS  1 federation (hash)  2 queue (stream)  3 queued (zset)  4 receipts (hash)  5 unclaimed (zset)
--       6 lifetimes (zset)
-- ARGV  1 fencing token  2 consumer group  3 time from which the payloads are unclaimed
--       then threes: entry id, delta id, blob id
-- Reply {done} | {fenced, newest token} | {federation_unknown}
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {'federation_unknown'} end
if epoch ~= ARGV[1] then return {'fenced', epoch} end
for i = 4, #ARGV, 3 do
  local entry, delta, blob = unpack(ARGV, i, i + 2)
  local claimed = #redis.call('XPENDING', KEYS[2], ARGV[2], entry, entry, 1) == 1
  if claimed and redis.call('ZSCORE', KEYS[3], delta) then
    redis.call('XACK', KEYS[2], ARGV[2], entry)
    redis.call('XDEL', KEYS[2], entry)
    redis.call('ZREM', KEYS[3], delta)
    redis.call('HDEL', KEYS[4], delta)
    redis.call('ZREM', KEYS[6], blob)
    redis.call('ZADD', KEYS[5], ARGV[3], blob)
  end
end
return {'done'}
