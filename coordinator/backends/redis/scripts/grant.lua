#!lua
-- Keeps a join grant until it expires; one that is there stays as it is.
-- KEYS  1 grant (hash)  2 grants (set)
-- ARGV  1 token id  2 record (JSON)  3 uses  4 expires at (Unix milliseconds)
-- Reply {done}
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'record', ARGV[2], 'left', ARGV[3])
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
redis.call('SADD', KEYS[2], ARGV[1])
return {'done'}
