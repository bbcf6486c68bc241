#!lua flags=allow-oom
-- Counts an attempt to merge claimed deltas, by setting their delivery counts to one more than the attempts made. Setting
-- rather than adding makes repeating it harmless. Entries that are not claimed any more are passed over.
-- KEYS  1 federation (hash)  2 queue (stream)
-- ARGV  1 consumer group  2 worker id  3.. pairs: entry id, attempts made, this one included
-- Reply {counted} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
for i = 3, #ARGV, 2 do
  redis.call('XCLAIM', KEYS[2], ARGV[1], ARGV[2], '0', ARGV[i], 'RETRYCOUNT', ARGV[i + 1] + 1, 'JUSTID')
end
return {'counted'}
