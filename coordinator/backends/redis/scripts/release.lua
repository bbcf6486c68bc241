#!lua flags=allow-oom
-- Gives the lease up, if it is still this worker's.
-- KEYS  1 federation (hash)  2 lease (string, token:worker)
-- ARGV  1 worker id  2 fencing token
-- Reply {done} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
if redis.call('GET', KEYS[2]) == ARGV[2] .. ':' .. ARGV[1] then redis.call('DEL', KEYS[2]) end
return {'done'}
