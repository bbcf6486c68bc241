#!lua flags=allow-oom
-- Counts the deltas of one agent that wait in the queue, and takes those that have left it from the agent's list: so
-- whatever takes a delta out of the queue need not know of the list.
-- KEYS  1 federation (hash)  2 waiting (zset)  3 queued (zset)
-- ARGV  1 agent id  2 how many are looked at at most
-- Reply {counted, how many} | {federation_unknown}
if redis.call('EXISTS', KEYS[1]) == 0 then return {'federation_unknown'} end
local start, count = ARGV[1] .. ':', 0
-- ';' comes right after ':', and neither is part of an agent id
local members = redis.call('ZRANGEBYLEX', KEYS[2], '[' .. start, '(' .. ARGV[1] .. ';', 'LIMIT', 0, ARGV[2])
for _, member in ipairs(members) do
  if redis.call('ZSCORE', KEYS[3], string.sub(member, #start + 1)) then
    count = count + 1
  else
    redis.call('ZREM', KEYS[2], member)
  end
end
return {'counted', count}
