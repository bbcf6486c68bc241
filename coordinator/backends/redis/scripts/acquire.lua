#!lua flags=allow-oom
-- Takes the lease if it is free or already this worker's, with a new fencing token.
-- KEYS  1 federation (hash)  2 lease (string, token:worker)
-- ARGV  1 worker id  2 milliseconds to live
-- Reply {acquired, token} | {held} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local lease = redis.call('GET', KEYS[2])
if lease and string.match(lease, '^%d+:(.*)$') ~= ARGV[1] then return {'held'} end
local token = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('SET', KEYS[2], token .. ':' .. ARGV[1], 'PX', ARGV[2])
return {'acquired', tostring(token)}
