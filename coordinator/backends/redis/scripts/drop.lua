#!lua flags=allow-oom
-- Rejects a dead letter.
-- KEYS  1 federation (hash)  2 dead (hash)  3 outcomes (hash)  4 rejected (hash)  5 lifetimes (zset)
--       6 settled (zset)
-- ARGV  1 delta id  2 agent id  3 blob id  4 outcome (JSON)
-- Reply {done} | {dead_letter_unknown} | {federation_unknown}
local head = redis.call('HGET', KEYS[1], 'head')
if not head then return {'federation_unknown'} end
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then return {'dead_letter_unknown'} end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
redis.call('HINCRBY', KEYS[4], ARGV[2], 1)
local number = string.match(head, '^%d+:(%d+):')
redis.call('ZADD', KEYS[5], number, ARGV[3])
redis.call('ZADD', KEYS[6], number, ARGV[1])
return {'done'}
