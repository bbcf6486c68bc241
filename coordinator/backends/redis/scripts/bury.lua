#!lua flags=allow-oom
-- Moves a claimed delta to the dead letters; one that is settled or buried already is left as it is.
-- KEYS  1 federation (hash)  2 queue (stream)  3 queued (zset)  4 dead (hash)
-- ARGV  1 fencing token  2 consumer group  3 entry id  4 delta id  5 dead letter (JSON)
-- Reply {done} | {fenced, newest token} | {federation_unknown}
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {'federation_unknown'} end
if epoch ~= ARGV[1] then return {'fenced', epoch} end
local claimed = #redis.call('XPENDING', KEYS[2], ARGV[2], ARGV[3], ARGV[3], 1) == 1
if not claimed or not redis.call('ZSCORE', KEYS[3], ARGV[4]) then return {'done'} end
redis.call('XACK', KEYS[2], ARGV[2], ARGV[3])
redis.call('XDEL', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[4], ARGV[5])
return {'done'}
