#!lua flags=allow-oom
-- Takes the lease if it is free or already this worker's, with a new fencing token. One that has longer to live than it
-- was taken for was so before the server's clock went back, by a day perhaps: it gets the time it was taken for, no more.
-- KEYS  1 federation (hash)  2 lease (string, token:worker)
-- ARGV  1 worker id  2 milliseconds to live
-- Reply {acquired, token} | {held} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local lease = redis.call('GET', KEYS[2])
if lease and string.match(lease, '^%d+:(.*)$') ~= ARGV[1] then
  local lasts = tonumber(redis.call('HGET', KEYS[1], 'lease_lasts') or ARGV[2])
  if redis.call('PTTL', KEYS[2]) > lasts then redis.call('PEXPIRE', KEYS[2], lasts) end
  return {'held'}
end
local token = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'lease_lasts', ARGV[2])
redis.call('SET', KEYS[2], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return {'acquired', tostring(token)}
