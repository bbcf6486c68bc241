#!lua flags=allow-oom
-- Claims deltas that nobody has claimed, oldest first.
-- KEYS  1 federation (hash)  2 queue (stream)
-- ARGV  1 consumer group  2 worker id  3 at most so many
-- Reply {claimed, {{entry id, delta (JSON), attempts}, ...}} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local streams = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[2], '>')
local claimed = {}
if streams then
  for _, entry in ipairs(streams[1][2]) do claimed[#claimed + 1] = {entry[1], entry[2][2], 0} end
end
return {'claimed', claimed}
