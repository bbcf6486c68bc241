#!lua
-- Puts records of a restore aside, in one staged key, and lets all staged keys live on. Repeating it is harmless.
-- KEYS  1 staged (hash, set or zset), then every staged key
-- ARGV  1 seconds to live  2 command (HSET, SADD or ZADD)  then its arguments
-- Reply {staged}
redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
for i = 2, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[1]) end
return {'staged'}
