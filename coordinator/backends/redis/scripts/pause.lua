#!lua flags=allow-oom
-- Stops or starts merging.
-- KEYS  1 federation (hash)
-- ARGV  1 name  2 paused (0/1)  3 channel  4 why, where no operator paused it
-- Reply {done} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
redis.call('HSET', KEYS[1], 'paused', ARGV[2], 'hold_reason', ARGV[4])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return {'done'}
