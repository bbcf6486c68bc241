#!lua flags=allow-oom
-- Records when registered agents last called; a time never goes back.
-- KEYS  1 federation (hash)  2 last_seen (hash)
-- ARGV  pairs: agent id, time
-- Reply {done} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
for i = 1, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[2], ARGV[i])
  if before and tonumber(before) < tonumber(ARGV[i + 1]) then redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
return {'done'}
