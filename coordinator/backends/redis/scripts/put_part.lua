#!lua
-- Stores a part of a blob that was begun and not deleted since: a part that comes after its deletion would stay for good.
-- KEYS  1 blob (hash)
-- ARGV  1 index  2 bytes
-- Reply {stored} | {gone}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'stored'}
