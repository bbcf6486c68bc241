#!lua
-- Makes a blob's key, which expires until its federation's books have the blob; one that exists is left as it is.
-- KEYS  1 blob (hash)
-- ARGV  1 field that no part has  2 seconds to live  3 folder of the blob's parts, empty for in this hash
-- Reply {open}
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] or '')
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return {'open'}
