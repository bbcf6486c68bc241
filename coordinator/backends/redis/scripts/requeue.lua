#!lua flags=allow-oom
-- Puts a dead letter back at the end of the queue.
-- KEYS  1 federation (hash)  2 queue (stream)  3 queued (zset)  4 dead (hash)
-- ARGV  1 delta id  2 accepted at  3 delta (JSON)
-- Reply {done} | {dead_letter_unknown} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
if redis.call('HDEL', KEYS[4], ARGV[1]) == 0 then return {'dead_letter_unknown'} end
redis.call('XADD', KEYS[2], '*', 'delta', ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return {'done'}
