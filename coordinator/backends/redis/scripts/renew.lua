#!lua flags=allow-oom
-- Prolongs the lease, if it is still this worker's and no newer fencing token exists.
-- KEYS  1 federation (hash)  2 lease (string, token:worker)
-- ARGV  1 worker id  2 milliseconds to live  3 fencing token
-- Reply {renewed} | {lost} | {federation_unknown}
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then return {'federation_unknown'} end
if epoch ~= ARGV[3] or redis.call('GET', KEYS[2]) ~= ARGV[3] .. ':' .. ARGV[1] then return {'lost'} end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {'renewed'}
