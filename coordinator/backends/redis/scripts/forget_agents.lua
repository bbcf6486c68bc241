#!lua flags=allow-oom
-- Forgets agents that were not seen since a time, with what they contributed. Revoked ones stay.
-- KEYS  1 federation (hash)  2 last_seen (hash)  3 revoked (set)  4 waiting (zset)  5.. every other hash by agent id
-- ARGV  1 not seen since  then agent ids
-- Reply {done, how many} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local count = 0
for i = 2, #ARGV do
  local seen = redis.call('HGET', KEYS[2], ARGV[i])
  local gone = not seen or tonumber(seen) < tonumber(ARGV[1])
  if gone and redis.call('SISMEMBER', KEYS[3], ARGV[i]) == 0 then
    redis.call('ZREMRANGEBYLEX', KEYS[4], '[' .. ARGV[i] .. ':', '(' .. ARGV[i] .. ';')
    for k = 5, #KEYS do redis.call('HDEL', KEYS[k], ARGV[i]) end
    redis.call('HDEL', KEYS[2], ARGV[i])
    count = count + 1
  end
end
return {'done', count}
