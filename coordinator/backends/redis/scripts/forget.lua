#!lua flags=allow-oom
-- Condemns one unclaimed blob, so that nothing can adopt it while it is being deleted.
-- KEYS  1 federation (hash)  2 unclaimed (zset)  3 lifetimes (zset)
-- ARGV  1 blob id  2 the lifetime of condemned blobs
-- Reply {condemned} | {adopted}
local head = redis.call('HGET', KEYS[1], 'head')
local number = head and tonumber(string.match(head, '^%d+:(%d+):')) or -1
local until_number = redis.call('ZSCORE', KEYS[3], ARGV[1])
if until_number and tonumber(until_number) > number then return {'adopted'} end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
return {'condemned'}
