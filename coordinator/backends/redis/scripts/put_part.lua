#!lua
-- Stores a part, or a note of it, of a blob that was begun and not deleted since: what comes after its deletion would
-- stay for good.
-- KEYS  1 blob (hash)
-- ARGV  1 index  2 bytes of the part, or the note  3 folder of the blob's parts, empty for in its record
-- Reply {stored} | {gone} | {elsewhere}
local folder = redis.call('HGET', KEYS[1], 'begun')
if not folder and redis.call('EXISTS', KEYS[1]) == 0 then return {'gone'} end
if (folder or '') ~= ARGV[3] then return {'elsewhere'} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'stored'}
