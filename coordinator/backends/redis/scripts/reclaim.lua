#!lua flags=allow-oom
-- Takes over claimed deltas, whoever claimed them, in batches: the reply names where the next batch starts. JUSTID keeps
-- the delivery counts, in which `attempt` counts merges.
-- KEYS  1 federation (hash)  2 queue (stream)
-- ARGV  1 consumer group  2 worker id  3 start  4 batch size
-- Reply {claimed, next start (0-0 at the end), {{entry id, delta (JSON), attempts}, ...}} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local batch = redis.call('XAUTOCLAIM', KEYS[2], ARGV[1], ARGV[2], '0', ARGV[3], 'COUNT', ARGV[4], 'JUSTID')
local claimed = {}
for _, id in ipairs(batch[2]) do
  local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
  local pending = redis.call('XPENDING', KEYS[2], ARGV[1], id, id, 1)[1]
  if entry then claimed[#claimed + 1] = {id, entry[2][2], pending[4] - 1} end
end
return {'claimed', batch[1], claimed}
