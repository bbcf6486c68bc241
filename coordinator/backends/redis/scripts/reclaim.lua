#!lua flags=allow-oom
-- Takes over claimed deltas, whoever claimed them, in batches: the reply names where the next batch starts.
-- KEYS  1 federation (hash)  2 queue (stream)
-- ARGV  1 consumer group  2 worker id  3 start  4 batch size
-- Reply {claimed, next start (0-0 at the end), {{entry id, delta (JSON), deliveries}, ...}} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local batch = redis.call('XAUTOCLAIM', KEYS[2], ARGV[1], ARGV[2], '0', ARGV[3], 'COUNT', ARGV[4])
local claimed = {}
for _, entry in ipairs(batch[2]) do
  local pending = redis.call('XPENDING', KEYS[2], ARGV[1], entry[1], entry[1], 1)
  claimed[#claimed + 1] = {entry[1], entry[2][2], pending[1][4]}
end
return {'claimed', batch[1], claimed}
