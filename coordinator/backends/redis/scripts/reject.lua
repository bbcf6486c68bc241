#!lua flags=allow-oom
-- Settles claimed deltas as rejected; those settled already are left as they are.
-- KEYS  1 federation (hash)  2 queue (stream)  3 queued (zset)  4 outcomes (hash)  5 rejected (hash)  6 lifetimes (zset)
--       7 settled (zset)
-- ARGV  1 fencing token  2 consumer group  then fives: entry id, delta id, agent id, blob id, outcome (JSON)
-- Reply {done} | {fenced, newest token} | {federation_unknown}
local federation = redis.call('HMGET', KEYS[1], 'epoch', 'head')
if not federation[1] then return {'federation_unknown'} end
if federation[1] ~= ARGV[1] then return {'fenced', federation[1]} end
local head = string.match(federation[2], '^%d+:(%d+):')
for i = 3, #ARGV, 5 do
  local entry, delta, agent, blob, outcome = unpack(ARGV, i, i + 4)
  local claimed = #redis.call('XPENDING', KEYS[2], ARGV[2], entry, entry, 1) == 1
  if claimed and redis.call('ZSCORE', KEYS[3], delta) then
    redis.call('XACK', KEYS[2], ARGV[2], entry)
    redis.call('XDEL', KEYS[2], entry)
    redis.call('ZREM', KEYS[3], delta)
    redis.call('HSET', KEYS[4], delta, outcome)
    redis.call('HINCRBY', KEYS[5], agent, 1)
    redis.call('ZADD', KEYS[6], head, blob)
    redis.call('ZADD', KEYS[7], head, delta)
  end
end
return {'done'}
