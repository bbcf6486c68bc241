#!lua flags=no-writes
-- Counts the deltas of one agent that wait in the queue. Those that have left it are in its list until it uploads again,
-- so that whatever takes a delta out of the queue need not know of the list.
-- KEYS  1 federation (hash)  2 waiting (hash)  3 queued (zset)
-- ARGV  1 agent id
-- Reply {counted, how many} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local count = 0
for delta in string.gmatch(redis.call('HGET', KEYS[2], ARGV[1]) or '', '%S+') do
  if redis.call('ZSCORE', KEYS[3], delta) then count = count + 1 end
end
return {'counted', count}
