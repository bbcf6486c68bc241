#!lua flags=no-writes
-- Says how much waits.
-- KEYS  1 federation (hash)  2 queue (stream)  3 queued (zset)  4 dead (hash)
-- ARGV  1 consumer group
-- Reply {queued, pending, dead, oldest acceptance time or ''} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local oldest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
return {
  redis.call('ZCARD', KEYS[3]), redis.call('XPENDING', KEYS[2], ARGV[1])[1], redis.call('HLEN', KEYS[4]), oldest[2] or ''
}
