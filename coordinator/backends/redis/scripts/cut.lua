#!lua flags=no-writes
-- Reads all of a federation that changes, as of one moment.
-- KEYS  1 federation (hash)  2 lineage (hash)  3 queue (stream)  4 dead (hash)  5 agents (hash)  6 registered (hash)
--       7 last_seen (hash)  8 revoked (set)  9 merged (hash)  10 weights (hash)  11 rejected (hash)  12 lifetimes (zset)
-- ARGV  1 consumer group
-- Reply {cut, {record, paused, head, epoch}, {number, lineage, ...}, {{entry id, delta (JSON)}, ...},
--       {{entry id, worker, deliveries}, ...}, {delta id, dead letter (JSON), ...}, then flat: agents, registered,
--       last_seen; revoked; flat: merged, weights, rejected, and the lifetimes above the head}
--       | {federation_unknown}
local federation = redis.call('HMGET', KEYS[1], 'record', 'paused', 'head', 'epoch')
if not federation[1] then return {'federation_unknown'} end
local number = string.match(federation[3], '^%d+:(%d+):')
local queue, claims = {}, {}
for i, entry in ipairs(redis.call('XRANGE', KEYS[3], '-', '+')) do queue[i] = {entry[1], entry[2][2]} end
local pending = redis.call('XPENDING', KEYS[3], ARGV[1])[1]
if pending > 0 then
  for i, claim in ipairs(redis.call('XPENDING', KEYS[3], ARGV[1], '-', '+', pending)) do
    claims[i] = {claim[1], claim[2], claim[4]}
  end
end
return {
  'cut', federation, redis.call('HGETALL', KEYS[2]), queue, claims, redis.call('HGETALL', KEYS[4]),
  redis.call('HGETALL', KEYS[5]), redis.call('HGETALL', KEYS[6]), redis.call('HGETALL', KEYS[7]),
  redis.call('SMEMBERS', KEYS[8]), redis.call('HGETALL', KEYS[9]), redis.call('HGETALL', KEYS[10]),
  redis.call('HGETALL', KEYS[11]), redis.call('ZRANGEBYSCORE', KEYS[12], '(' .. number, '+inf', 'WITHSCORES')
}
